"""Processor time per message, protocol by protocol and whole ways, and what a bare server of the same kind needs."""

import re

from figure import Figure
from machine import cpu_seconds
from workshop import Failed

TCP = {"protocol": "tcp", "device": ["/device"], "reply": "count"}
CONNECTIONS = 8
HTTP_CONNECTIONS = 64
ENDPOINTS = 1000


ACKNOWLEDGED = "acknowledged messages per second, with the sender on the same machine"


def _measure(shop, name, what, limit, listeners, sender, messages, sinks=None):
    """Figures of the usual kind: one gateway, a first run that does not count, then the runs."""
    cost = Figure(name, what, "us/message", limit)
    rate = Figure(f"{name}, rate", ACKNOWLEDGED, "1/s", digits=0)
    with shop.sluice(listeners, sinks) as s:
        for run in range(-1, shop.runs):
            us, report = shop.cost(s, *sender(s, messages if run >= 0 else messages // 4))
            if run < 0:
                continue
            cost.add(us)
            rate.add(report["rate"])
            shop.say(name, run, f"{us:.2f} us, {report['rate']:,.0f} messages/s, "
                     f"{report['messages'] / max(report['commits'], 1):.0f} a commit of {report['commit_us']:.0f} us"
                     + (f", {report['lost']} lost" if report["lost"] else ""))
    return [cost, rate]


def _to_tcp(s, messages):
    return "bench_send", "tcp", *s.address("tcp"), CONNECTIONS, 1000, messages


def tcp(shop):
    return _measure(shop, "tcp", f"TCP lines on {CONNECTIONS} connections, 1000 unacknowledged each, reply: count",
                    1.5, {"tcp": TCP}, _to_tcp, 1_000_000)


def mqtt1(shop):
    return _measure(shop, "mqtt1", f"MQTT QoS 1 from {CONNECTIONS} clients, 100 unacknowledged each", 2.0,
                    {"mqtt": {"protocol": "mqtt"}},
                    lambda s, n: ("bench_send", "mqtt", *s.address("mqtt"), CONNECTIONS, 100, n), 500_000)


def mqtt0(shop):
    return _measure(shop, "mqtt0", f"MQTT QoS 0 from {CONNECTIONS} clients", None, {"mqtt": {"protocol": "mqtt"}},
                    lambda s, n: ("bench_send", "mqtt0", *s.address("mqtt"), CONNECTIONS, 100, n), 500_000)


def _http_floor(shop, figure, run, messages, *spike):
    port = shop.free_port()
    with shop.server(shop.program("bench_http_spike"), port, 3600, *spike, port=port) as pid:
        shop.send("bench_http_send", "127.0.0.1", port, HTTP_CONNECTIONS, messages // 10, 1)
        before = cpu_seconds(pid)
        report = shop.send("bench_http_send", "127.0.0.1", port, HTTP_CONNECTIONS, messages, 1)
        us = (cpu_seconds(pid) - before) / report["messages"] * 1e6
    figure.add(us)
    shop.say(figure.name, run, f"{us:.2f} us, {report['rate']:,.0f} requests/s")


def http(shop):
    """Sluice, spike and bare in turn, so that all three meet the same machine."""
    on = f"on {HTTP_CONNECTIONS} keep-alive connections"
    cost = Figure("http", f"HTTP, one message per request {on}; limit: the spike and 3 us", "us/message")
    spike = Figure("http spike", f"libmicrohttpd alone {on}: suspended for a pretended commit, as long as Sluice's in "
                   "the run before, resumed, answered", "us/request")
    bare = Figure("http bare", f"libmicrohttpd alone {on}: answered at once", "us/request")
    rate = Figure("http, rate", ACKNOWLEDGED, "1/s", digits=0)
    messages = 60_000
    with shop.sluice({"http": {"protocol": "http"}}) as s:
        def sender(n):
            return "bench_http_send", *s.address("http"), HTTP_CONNECTIONS, n, 1
        shop.cost(s, *sender(messages // 4))
        for run in range(shop.runs):
            us, report = shop.cost(s, *sender(messages))
            cost.add(us)
            rate.add(report["rate"])
            shop.say("http", run, f"{us:.2f} us, {report['rate']:,.0f} messages/s, "
                     f"{report['messages'] / max(report['commits'], 1):.0f} a commit of {report['commit_us']:.0f} us")
            _http_floor(shop, spike, run, messages, round(report["commit_us"]))
            _http_floor(shop, bare, run, messages)
    cost.limit = spike.value + 3
    return [cost, rate, spike, bare]


def ndjson(shop):
    return _measure(shop, "http ndjson", f"HTTP, 100 messages per request (NDJSON) on {CONNECTIONS} connections", None,
                    {"http": {"protocol": "http"}},
                    lambda s, n: ("bench_http_send", *s.address("http"), CONNECTIONS, n, 100), 500_000)


def coap(shop):
    echo = Figure("coap echo", f"a bare recvmmsg and sendmmsg echo, {ENDPOINTS} endpoints", "us/message")
    for run in range(shop.runs):
        text = shop.run("bench_coap_echo")
        match = re.search(r"([\d.]+) us of CPU each", text)
        if not match:
            raise Failed(f"bench_coap_echo said: {text.strip()}")
        echo.add(float(match.group(1)))
        shop.say(echo.name, run, f"{echo.values[-1]:.2f} us")
    return _measure(shop, "coap", f"CoAP CON from {ENDPOINTS} endpoints, one request under way each", 3.0,
                    {"coap": {"protocol": "coap"}},
                    lambda s, n: ("bench_coap_send", *s.address("coap"), ENDPOINTS, 1, n), 300_000) + [echo]


def _through(shop, name, what, limit, messages, sinks):
    """As _measure, for TCP; the rate is that at which the server took the messages."""
    cost = Figure(name, what, "us/message", limit)
    rate = Figure(f"{name}, rate", "messages per second, first line to last record settled", "1/s", digits=0)
    total = 0
    with shop.sluice({"tcp": TCP}, sinks) as s:
        for run in range(-1, shop.runs):
            us, report = shop.cost(s, *_to_tcp(s, messages if run >= 0 else messages // 4))
            total += report["messages"]
            if run < 0:
                continue
            cost.add(us)
            rate.add(report["messages"] / report["whole_seconds"])
            shop.say(name, run, f"{us:.2f} us, acknowledged {report['rate']:,.0f} messages/s, "
                     f"through {rate.values[-1]:,.0f} messages/s")
        if s.metrics().sum("sluice_sink_dead_records_total"):
            raise Failed(f"{name}: there are dead letters")
    return [cost, rate], total


def _expect(name, found, total):
    if found != total:
        raise Failed(f"{name}: {total} messages were sent, and the server has {found}")


def kafka(shop):
    from confluent_kafka import Consumer, TopicPartition
    from services import Kafka
    broker = Kafka(shop.directory("kafka"))
    try:
        topic = broker.create_topic("sluice.telemetry")
        figures, total = _through(
            shop, "tcp to kafka", "TCP lines to a Kafka broker, until it has everything; no other sink", 3.0, 500_000,
            {"kafka": {"brokers": broker.bootstrap, "topic": topic}})
        consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "bench"})
        try:
            ends = [consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in range(3)]
        finally:
            consumer.close()
        _expect("kafka", sum(ends), total)
        return figures
    finally:
        broker.stop()


def elasticsearch(shop):
    from services import Search
    node = Search(shop.directory("search"))
    try:
        figures, total = _through(
            shop, "tcp to elasticsearch", "TCP lines to an Elasticsearch node, until it has everything; no other sink",
            4.0, 200_000, {"elasticsearch": {"nodes": [node.url]}})
        _expect("elasticsearch", node.count("telemetry-*"), total)
        return figures
    finally:
        node.stop()
