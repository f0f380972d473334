"""Nearly full and full: whom it strikes first, what it tells, and what may be dropped."""

import json
import socket

import pytest
from conftest import merge, wait_until
from filling import NAMES, TINY, coap_post, fill, http_post, kafka_behind


def config(relay, topic, change):
    return merge(merge(TINY, kafka_behind(relay, topic)), change)


def lines(first, count):
    return b"".join(b'{"device":"d","n":%d,"text":"%s"}\n' % (n, b"x" * 900) for n in range(first, first + count))


def send(gateway, first, count):
    """Lines, a few at a time, each acknowledged before the next."""
    with socket.create_connection(gateway.address("tcp"), timeout=20) as s:
        for at in range(0, count, 50):
            s.sendall(lines(first + at, 50))
            while int(s.recv(4096).split()[-1]) < at + 50:
                pass


def test_the_oldest_are_dropped_where_nobody_was_promised_them(sluice, kafka, relay):
    topic = kafka.create_topic("drop-oldest")
    gives_way = {"ack": "accepted", "when_full": "drop_oldest"}
    few = {"kafka": {"batch_records": 100}}  # what the sink has under way is not dropped
    gw = sluice(config(relay, topic, {"listeners": {name: gives_way for name in NAMES}, "sinks": few, "stop": {"drain": "1s"}}))
    send(gw, 0, 8000)
    wait_until(lambda: gw.metrics().sum("sluice_journal_dropped_records_total") > 2000, 20, "the oldest are dropped")
    assert gw.status("/readyz") == 200
    assert http_post(gw).status_code == 202 and coap_post(gw)[0] == "2.04"
    gw.stop()
    gw.start()
    send(gw, 8000, 8000)
    assert gw.metrics().sum("sluice_journal_full_total") == 0
    size = sum(f.stat().st_size for f in (gw.data / "journal").glob("*.segment"))
    assert size <= 4 << 20
    relay.start()
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, 60, "the sinks have what there is")
    metrics = gw.metrics()
    dropped, last = metrics.sum("sluice_sink_dropped_records_total", sink="kafka"), metrics.sum("sluice_journal_last_sequence")
    assert last == 16002 and dropped > 8000
    assert metrics.sum("sluice_journal_lost_records_total") == 0 and metrics.sum("sluice_journal_damaged_ranges_total") == 0
    got = [json.loads(m.value())["payload"].get("n") for m in kafka.consume(topic, int(last - dropped), 30)]
    assert len(got) == last - dropped, "each record has come or was counted"
    newest = got[-2000:]
    assert newest == list(range(14000, 16000)), "the newest are there, in order"


def test_what_is_promised_goes_on_when_it_is_nearly_full(sluice, kafka, relay):
    topic = kafka.create_topic("nearly-full")
    gw = sluice(config(relay, topic, {"journal": {"high_water": "50%", "low_water": "30%"},
                                    "listeners": {"http": {"ack": "accepted"}, "coap": {"ack": "accepted"}}}))
    assert http_post(gw).status_code == 202
    sent = 0
    while gw.metrics().sum("sluice_journal_nearly_full") == 0:
        send(gw, sent, 100)
        sent += 100
        wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records", sink="file") == 0, 20, "the file is not what it waits for")
        assert sent < 5000, "it is never nearly full"
    metrics = gw.metrics()
    assert 50 <= metrics.sum("sluice_journal_fill_percent") < 80 and metrics.sum("sluice_journal_full") == 0
    assert metrics.sum("sluice_journal_nearly_full_since_seconds") > 1_700_000_000
    wait_until(lambda: gw.metrics().sum("sluice_sink_holds_journal", sink="kafka") == 1, 10, "it says who holds the journal")
    assert gw.metrics().sum("sluice_sink_holds_journal", sink="file") == 0
    ready = gw.admin_get("/readyz?verbose")
    assert ready[0] == 200 and "[!] journal has room, but is nearly full" in ready[1], ready
    assert [line for line in ready[1].splitlines() if "holds the journal" in line and "sink kafka" in line], ready

    answer = http_post(gw)
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
    assert coap_post(gw)[0] == "5.03"
    send(gw, sent, 200)  # what is promised is taken, and acknowledged
    told = [e for e in gw.log_events() if e["message"] == "is nearly full of records that a sink does not have"]
    assert [e["sink.name"] for e in told] == ["kafka"]

    relay.start()
    wait_until(lambda: gw.metrics().sum("sluice_journal_nearly_full") == 0, 30, "the sink has caught up")
    assert http_post(gw).status_code == 202 and coap_post(gw)[0] == "2.04"
    kafka.consume(topic, sent + 200, 30)


def test_a_client_that_takes_any_puback_for_done_loses_nothing(sluice, kafka, relay):
    import paho.mqtt.client as mqtt

    topic = kafka.create_topic("any-puback")
    gw = sluice(config(relay, topic, {"listeners": {"mqtt": {"stall_timeout": "1s"}}}))
    host, port = gw.address("mqtt")
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="careless")
    done, numbers, connects = set(), {}, []
    client.on_publish = lambda _client, _data, mid, _reason, _properties: done.add(mid)
    client.on_connect = lambda *_: connects.append(1)
    client.max_inflight_messages_set(50)
    client.reconnect_delay_set(1, 1)
    client.connect(host, port)
    client.loop_start()

    def publish(first, count):
        for n in range(first, first + count):
            numbers[client.publish("devices/careless/t", b'{"n":%d}' % n, qos=1).mid] = n
    try:
        publish(0, 100)
        wait_until(lambda: len(done) == 100, 20, "acknowledgements come while there is room")
        fill(gw)
        publish(100, 300)
        before = len(connects)
        wait_until(lambda: len(connects) > before + 1, 30, "the stalled connection is ended, and tried again")
        assert len(done) == 100, "acknowledged while it was full"
        relay.start()
        wait_until(lambda: len(done) == 400, 60, "everything is acknowledged in the end")
    finally:
        client.disconnect()
        client.loop_stop()
    wanted = {numbers[mid] for mid in done}

    def all_there(messages):
        values = [json.loads(m.value()) for m in messages]
        return wanted <= {v["payload"].get("n") for v in values if v["device"]["id"] == "careless"}
    kafka.consume(topic, all_there, 30)


@pytest.mark.parametrize("what", ["refuse", "drop_oldest"])
def test_a_journal_in_memory_keeps_to_the_same_policy(sluice, kafka, relay, what):
    topic = kafka.create_topic(f"memory-{what.replace('_', '-')}")
    gw = sluice(config(relay, topic, {"journal": {"type": "memory"},
                                    "listeners": {name: {"ack": "accepted", "when_full": what} for name in NAMES}}))
    if what == "refuse":
        safe = fill(gw)
        assert gw.metrics().sum("sluice_journal_dropped_records_total") == 0
        relay.start()
        kafka.consume(topic, safe, 30)
        return
    send(gw, 0, 10000)
    assert gw.status("/readyz") == 200 and gw.metrics().sum("sluice_journal_dropped_records_total") > 2000
    relay.start()
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, 60, "the sinks have what there is")
    left = 10000 - gw.metrics().sum("sluice_sink_dropped_records_total", sink="kafka")
    got = [json.loads(m.value())["payload"]["n"] for m in kafka.consume(topic, int(left), 30)]
    assert len(got) == left and got[-1000:] == list(range(9000, 10000))

