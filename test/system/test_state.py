"""What must be remembered across kill -9 so that a repetition is one message: open QoS 2 identifiers, idempotency keys.

SLUICE_STATE_SEED repeats a run's moments; the seed is printed. A record that the file has twice with the same id was
delivered twice by the gateway, which is allowed; the same message under two ids was taken twice, which is not."""

import collections
import json
import os
import random
import socket
import threading
import time

import httpx

from conftest import merge, wait_until
from test_crash import SMALL_JOURNAL
from test_mqtt import CONNACK, CONNACK_PRESENT, Raw, connect, device, pubcomp, publish, pubrec, pubrel

SEED = int(os.environ.get("SLUICE_STATE_SEED", random.randrange(1 << 32)))


def messages(gw):
    """The numbers in the file, one for each record id, in order."""
    found = {}
    for line in gw.file.read_bytes().splitlines() if gw.file.exists() else []:
        try:
            record = json.loads(line)
            found.setdefault(record["event"]["id"], record["payload"]["n"])
        except ValueError:
            pass  # half a line, left by a kill
    return list(found.values())


def wait_messages(gw, count, timeout=20):
    until = time.monotonic() + timeout
    while len(messages(gw)) < count and time.monotonic() < until:
        time.sleep(0.05)
    return messages(gw)


class ExactlyOnce:
    """A client that repeats what was not answered, as QoS 2 asks for, over any number of connections."""

    def __init__(self, gw, client_id):
        self.gw, self.client_id, self.sock = gw, client_id, None

    def _answer(self, packet, wanted):
        while True:
            try:
                if self.sock is None:
                    self.sock = socket.create_connection(self.gw.address("mqtt"), timeout=10)
                    self.sock.sendall(connect(self.client_id, clean=False))
                    self._expect(CONNACK, CONNACK_PRESENT)
                self.sock.sendall(packet)
                return self._expect(wanted)
            except (OSError, EOFError):
                self.sock = None
                time.sleep(0.02)

    def _expect(self, *wanted):
        data = b""
        while len(data) < 4:
            more = self.sock.recv(4 - len(data))
            if not more:
                raise EOFError
            data += more
        assert data in wanted, data

    def send(self, n, mid):
        body = json.dumps({"n": n, "pad": "x" * 6000})
        self._answer(publish("devices/d/t", body, qos=2, mid=mid), pubrec(mid))
        self._answer(pubrel(mid), pubcomp(mid))


def through_kills(gw, rng, over, sent, least, *senders):
    """Runs the senders, each in a thread, while the gateway is killed and started again twelve times, and on until all of them
    together have sent more than `least`, however slow the machine is; then tells them that it is over, and waits for each."""
    threads = [threading.Thread(target=sender) for sender in senders]
    for t in threads:
        t.start()
    try:
        for _ in range(12):
            time.sleep(rng.uniform(0.02, 0.4))
            gw.kill()
            gw.start()
        wait_until(lambda: sum(sent) > least, 120, f"more than {least} are sent")
    finally:
        over.set()
        for t in threads:
            t.join(60)


def test_qos_2_is_exactly_once_over_many_kills(sluice):
    print(f"SLUICE_STATE_SEED={SEED}")
    rng = random.Random(SEED)
    gw = sluice(SMALL_JOURNAL)
    over = threading.Event()
    sent = [0, 0]

    def run(which):
        client = ExactlyOnce(gw, f"client-{which}")
        while not over.is_set():
            client.send(sent[which] * 2 + which, 1 + sent[which] % 2)  # the same two identifiers again and again
            sent[which] += 1

    through_kills(gw, rng, over, sent, 100, lambda: run(0), lambda: run(1))
    have = wait_messages(gw, sum(sent))
    for which in (0, 1):
        assert [n for n in have if n % 2 == which] == [2 * i + which for i in range(sent[which])]


class Pipelined(ExactlyOnce):
    """The same with a window: all of its messages are sent, then all are released, and what is sent again is what [MQTT-4.4.0-1] asks for:
    PUBLISH until its PUBREC, and from then on PUBREL alone."""

    window = 20

    def send_all(self, first):
        todo = {mid: publish("devices/d/t", json.dumps({"n": first + mid}), qos=2, mid=mid) for mid in range(1, self.window + 1)}
        while todo:
            try:
                if self.sock is None:
                    self.sock = socket.create_connection(self.gw.address("mqtt"), timeout=10)
                    self.sock.sendall(connect(self.client_id, clean=False))
                    self._expect(CONNACK, CONNACK_PRESENT)
                self.sock.sendall(b"".join(todo.values()))
                for mid, packet in list(todo.items()):
                    released = packet == pubrel(mid)
                    self._expect(pubcomp(mid) if released else pubrec(mid))
                    todo.pop(mid) if released else todo.update({mid: pubrel(mid)})
            except (OSError, EOFError):
                self.sock = None
                time.sleep(0.02)


def test_a_window_of_qos_2_is_exactly_once_over_many_kills(sluice):
    print(f"SLUICE_STATE_SEED={SEED}")
    rng = random.Random(SEED)
    gw = sluice(SMALL_JOURNAL)
    over, sent = threading.Event(), [0]

    def run():
        client = Pipelined(gw, "window")
        while not over.is_set():
            client.send_all(sent[0])
            sent[0] += client.window

    through_kills(gw, rng, over, sent, 200, run)
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, what="the file has all")
    assert sorted(messages(gw)) == list(range(1, sent[0] + 1))


def test_open_identifiers_survive_kill_9_and_recycled_segments(sluice):
    gw = sluice(SMALL_JOURNAL)
    held = Raw(gw, "held", clean=False)
    held.send(publish("devices/h/t", '{"n":0}', qos=2, mid=77)).expect(pubrec(77))
    busy = Raw(gw, "busy")
    for n in range(1, 600):  # several segments of 1 MiB, so that the one with that message is used again
        busy.send(publish("devices/b/t", json.dumps({"n": n, "pad": "x" * 8000}), qos=1, mid=n)).read(4)
    assert gw.metrics().sum("sluice_journal_checkpoints_total") >= 3
    gw.kill()
    gw.start()
    again = Raw(gw, "held", clean=False, expect=CONNACK_PRESENT)
    again.send(publish("devices/h/t", '{"n":0}', qos=2, mid=77)).expect(pubrec(77))
    again.send(pubrel(77)).expect(pubcomp(77))
    gw.kill()
    gw.start()
    last = Raw(gw, "held", clean=False, expect=CONNACK_PRESENT)  # nothing is open in it, but the session is there
    last.send(pubrel(77)).expect(pubcomp(77))
    last.send(publish("devices/h/t", '{"n":1000}', qos=2, mid=77)).expect(pubrec(77))  # another message
    assert sorted(wait_messages(gw, 601)) == [*range(600), 1000]


def test_a_clean_session_is_forgotten_across_kill_9(sluice):
    gw = sluice(merge(SMALL_JOURNAL, {}))
    Raw(gw, "dev", clean=False).send(publish("devices/d/t", '{"n":1}', qos=2, mid=5)).expect(pubrec(5)).close()
    # The acknowledged message behind it tells that the forgetting is on disk, too.
    Raw(gw, "dev", clean=True).send(publish("devices/d/t", '{"n":2}', qos=1, mid=1)).read(4)
    gw.kill()
    gw.start()
    Raw(gw, "dev", clean=False, expect=CONNACK).send(publish("devices/d/t", '{"n":3}', qos=2, mid=5)).expect(pubrec(5))
    assert sorted(wait_messages(gw, 3)) == [1, 2, 3]


def test_what_finds_no_room_in_the_state_is_forgotten_the_oldest_first_and_counted(sluice):
    gw = sluice(merge(SMALL_JOURNAL, {"journal": {"max_state": "4KiB"}, "listeners": {"mqtt": {"max_sessions": 16}}}))
    client = Raw(gw, "many", clean=False)
    for n in range(1, 401):
        client.send(publish("devices/m/t", json.dumps({"n": n}), qos=2, mid=n)).expect(pubrec(n))
    forgotten = gw.metrics().sum("sluice_journal_state_forgotten_total")
    assert 100 < forgotten < 400
    client.send(publish("devices/m/t", '{"n":1}', qos=2, mid=1)).expect(pubrec(1))  # while it runs, it knows all of them
    gw.kill()
    gw.start()
    again = Raw(gw, "many", clean=False, expect=CONNACK_PRESENT)
    for n in range(1, 401):
        again.send(publish("devices/m/t", json.dumps({"n": n}), qos=2, mid=n)).expect(pubrec(n))
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, what="the file has all")
    times = collections.Counter(messages(gw))
    twice = [n for n in sorted(times) if times[n] == 2]
    assert len(times) == 400 and twice == list(range(1, len(twice) + 1)) and 0 < len(twice) <= forgotten


def test_a_session_without_identifiers_survives_kill_9(sluice):
    """[MQTT-3.2.2-2]: a client that reads 0 throws away what it has queued."""
    gw = sluice(merge(SMALL_JOURNAL, {"listeners": {"mqtt": {"threads": 4}}}))
    for n in range(20):
        Raw(gw, f"dev-{n}", clean=False).close()  # killed as soon as CONNACK came
        if n % 5 == 4:
            gw.kill()
            gw.start()
    for n in range(20):
        Raw(gw, f"dev-{n}", clean=False, expect=CONNACK_PRESENT).close()
    Raw(gw, "dev-3", clean=True).send(publish("devices/d/t", '{"n":1}', qos=1, mid=1)).read(4)
    Raw(gw, "dev-3", clean=True).close()  # no session began, none is left
    gw.kill()
    gw.start()
    Raw(gw, "dev-3", clean=False).close()
    Raw(gw, "dev-4", clean=False, expect=CONNACK_PRESENT).close()


def test_a_session_expires_counted_from_the_restart(sluice):
    gw = sluice(merge(SMALL_JOURNAL, {"listeners": {"mqtt": {"session_expiry": "3s"}}}))
    Raw(gw, "dev", clean=False).close()
    time.sleep(2)  # of its three seconds
    gw.kill()
    gw.start()
    started = time.monotonic()
    time.sleep(max(0, started + 1.5 - time.monotonic()))  # over 3 s since it left, under 3 s since the start
    Raw(gw, "dev", clean=False, expect=CONNACK_PRESENT).close()
    wait_until(lambda: gw.metrics().sum("sluice_journal_state_items") == 0, 20, "the session is forgotten")
    gw.kill()
    gw.start()
    Raw(gw, "dev", clean=False).close()


def test_max_sessions_must_fit_into_the_journals_state(sluice):
    config = merge(SMALL_JOURNAL, {"journal": {"max_state": "16KiB"}, "listeners": {"mqtt": {"max_sessions": 300}}})
    gw = sluice(config, start=False)
    done = gw.command("--check", gw.config_path)
    assert done.returncode == 2
    text = done.stdout + done.stderr
    assert "max_sessions" in text and "journal.max_state" in text and "16384" in text
    fits = sluice(merge(config, {"listeners": {"mqtt": {"max_sessions": 290}}}), start=False)
    assert fits.command("--check", fits.config_path).returncode == 0


def test_paho_keeps_its_session_and_what_it_queued(sluice):
    gw = sluice()
    client = device("paho-session", clean=False)
    present, published = [], set()
    client.on_publish = lambda c, u, mid, reason, p: published.add(mid)
    client.on_connect = lambda c, u, flags, reason, p: present.append(flags.session_present)
    client.reconnect_delay_set(1, 1)
    client.connect(*gw.address("mqtt"))
    client.loop_start()
    wait_until(lambda: len(present) == 1, what="the first connection")
    gw.kill()
    infos = [client.publish("devices/p/t", json.dumps({"n": n}), qos=1) for n in range(50)]
    gw.start()
    wait_until(lambda: all(info.mid in published for info in infos), 20, "the acknowledgements")
    client.disconnect()
    client.loop_stop()
    assert present == [False, True]
    assert set(wait_messages(gw, 50)) == set(range(50))


# ---- Idempotency-Key -------------------------------------------------------------------------------------------------


def post(gw, body, key=None, path="/v1/telemetry/d/t", kind="application/json", timeout=10):
    headers = {"Content-Type": kind} | ({"Idempotency-Key": key} if key else {})
    return httpx.post(gw.url(path, "http"), content=body, headers=headers, timeout=timeout)


def test_a_key_is_one_message_across_kill_9(sluice):
    gw = sluice(SMALL_JOURNAL)
    assert post(gw, '{"n":1}', "k1").status_code == 204
    assert post(gw, '{"n":1}', "k1").status_code == 204
    assert post(gw, '{"n":2}', "k1").status_code == 422
    assert post(gw, '{"n":1}', "k1", path="/v1/telemetry/other").status_code == 422
    lines = '{"device":"d","n":3}\n{"device":"d","n":}\n{"device":"d","n":4}\n'
    first = post(gw, lines, "k2", "/v1/telemetry", "application/x-ndjson")
    assert first.status_code == 200 and first.json()["rejected_count"] == 1
    gw.kill()
    gw.start()
    assert post(gw, '{"n":1}', "k1").status_code == 204
    assert post(gw, '{"n":2}', "k1").status_code == 422
    again = post(gw, lines, "k2", "/v1/telemetry", "application/x-ndjson")
    assert (again.status_code, again.json()) == (200, first.json())
    assert post(gw, '{"n":5', "k3").status_code == 400
    assert post(gw, '{"n":5}', "k3").status_code == 204  # what was refused left nothing
    assert sorted(wait_messages(gw, 4)) == [1, 3, 4, 5]
    assert gw.metrics().sum("sluice_messages_duplicate_total", listener="http") == 2


def test_a_key_is_the_same_with_quotes_and_with_a_charset(sluice):
    """The draft has the key as a String with quotes, most clients send it bare; a proxy or a retry may add a charset."""
    gw = sluice(SMALL_JOURNAL)
    assert post(gw, '{"n":1}', "k1").status_code == 204
    assert post(gw, '{"n":1}', '"k1"').status_code == 204
    assert post(gw, '{"n":1}', "k1", kind="Application/JSON; charset=utf-8").status_code == 204
    assert post(gw, '{"n":1}', "k1", kind="text/plain").status_code == 422
    assert wait_messages(gw, 1) == [1]
    assert gw.metrics().sum("sluice_messages_duplicate_total", listener="http") == 2


def test_the_second_request_is_told_to_wait_while_the_first_is_on_its_way(sluice):
    """`delivered` to a sink that is away: the first is not settled."""
    config = {"sinks": {"away": {"type": "elasticsearch", "nodes": ["http://127.0.0.1:9"]}},
              "listeners": {"http": {"ack": "delivered", "ack_timeout": "1s"}}}
    gw = sluice(config)
    late = post(gw, '{"n":1}', "k")
    assert late.status_code == 202
    answer = post(gw, '{"n":1}', "k")
    assert answer.status_code == 409
    assert answer.json()["type"] == "urn:sluice:problem:idempotency-key-in-use"
    assert int(answer.headers["Retry-After"]) >= 1
    assert post(gw, '{"n":2}', "k").status_code == 422


def test_keys_are_bounded_and_end_with_their_window(sluice):
    gw = sluice({"listeners": {"http": {"idempotency_keys": 3, "idempotency_window": "1s"}}})
    for n in range(5):
        assert post(gw, json.dumps({"n": n}), f"k{n}").status_code == 204
    assert gw.metrics().sum("sluice_exchanges_forgotten_total", listener="http") == 2
    time.sleep(1.1)
    assert post(gw, '{"n":99}', "k4").status_code == 204
    assert sorted(wait_messages(gw, 6)) == [0, 1, 2, 3, 4, 99]


def test_keys_are_exactly_once_over_many_kills(sluice):
    print(f"SLUICE_STATE_SEED={SEED}")
    rng = random.Random(SEED)
    gw = sluice(SMALL_JOURNAL)
    over = threading.Event()
    sent = [0]

    def run():
        while not over.is_set():
            body, key = json.dumps({"n": sent[0], "pad": "x" * 6000}), f"key-{sent[0]}"
            while True:
                try:
                    if post(gw, body, key).status_code == 204:
                        break
                except httpx.HTTPError:
                    time.sleep(0.02)
            sent[0] += 1

    through_kills(gw, rng, over, sent, 20, run)
    assert wait_messages(gw, sent[0]) == list(range(sent[0]))
