"""Processor time per message, protocol by protocol and whole ways, and what a bare server of the same kind needs.

A figure has one gateway for all its runs; a first run does not count. A run is as fast as the gateway goes, or as 80 %
of the disk's O_DIRECT rate allows."""

from figure import Figure, target
from machine import cpu_seconds
from workshop import Failed

SECONDS = 2
DISK_SHARE = 0.8
TCP = ("-c", 8, "-w", 1000)
MQTT1 = ("-c", 8, "-w", 100, "-q", 1)
ENDPOINTS = 1000
HTTP_CONNECTIONS = 64

ACKNOWLEDGED = "acknowledged messages per second, with the sender on the same machine"


def _rate(name, what=ACKNOWLEDGED):
    return Figure(f"{name}, rate", what, "1/s", digits=0)


def cap(shop, first):
    """Options that keep the load at 80 % of what the disk takes; none where the gateway is slower than that."""
    share = first.written_mib_s / shop.disk_rate()
    if share <= DISK_SHARE:
        return ()
    return "-r", int(first.load.rate * DISK_SHARE / share)


def _add(shop, figure, rate, run, cost):
    figure.add(cost.us, rate=cost.load.rate, rss_mb=cost.rss / 1e6, disk_share=cost.written_mib_s / shop.disk_rate(),
               sender_cores=cost.load.raw["tool_busiest"])
    rate.add(cost.load.rate)
    shop.say(figure.name, run, cost.told())


def measure(shop, figure, listener, *options, env=None):
    """Figures of the usual kind: processor time and rate."""
    rate = _rate(figure.name)
    with shop.sluice(listener, env=env) as s:
        limit = cap(shop, shop.cost(s, listener, *options, "-t", f"{SECONDS / 2}s"))
        for run in range(shop.runs):
            _add(shop, figure, rate, run, shop.cost(s, listener, *options, *limit, "-t", f"{SECONDS}s"))
    return [figure, rate]


def tcp(shop):
    figures = measure(shop, target("tcp_us"), "tcp", *TCP)
    shop.shared["saturation"] = figures[1].value
    return figures


def saturation(shop):
    """Messages per second that TCP lines reach; measured now if nobody did."""
    if "saturation" not in shop.shared:
        with shop.sluice("tcp") as s:
            costs = [shop.cost(s, "tcp", *TCP, "-t", f"{SECONDS}s") for _ in range(4)]
        shop.shared["saturation"] = sorted(cost.load.rate for cost in costs[1:])[1]
        shop.say("saturation", None, f"{shop.shared['saturation']:,.0f}/s")
    return shop.shared["saturation"]


def tcp_200k(shop):
    figure, p99 = target("tcp_200k_us"), target("tcp_200k_p99_ms")
    p50 = Figure("tcp_200k_p50_ms", "of the same runs: p50 to acknowledge", "ms")
    with shop.sluice("tcp") as s:
        for run in range(-1, shop.runs):
            cost = shop.cost(s, "tcp", "-c", 8, "-w", 10_000, "-r", 200_000, "-t", "2s")
            if run < 0:
                continue
            figure.add(cost.us, rate=cost.load.rate, rss_mb=cost.rss / 1e6)
            p50.add(cost.load.us("p50_us") / 1e3)
            p99.add(cost.load.us("p99_us") / 1e3, sender_late_ms=cost.load.raw["late_us"] / 1e3)
            shop.say(figure.name, run, f"{cost.told()}; p50 {p50.values[-1]:.2f} ms, p99 {p99.values[-1]:.2f} ms, "
                     f"sender late {cost.load.raw['late_us'] / 1e3:.2f} ms")
    return [figure, p99, p50]


def mqtt0(shop):
    return measure(shop, target("mqtt0_us"), "mqtt", "-c", 8, "-q", 0)


def mqtt1(shop):
    return measure(shop, target("mqtt1_us"), "mqtt", *MQTT1)


def http_batch(shop):
    return measure(shop, target("http_batch_us"), "http", "-c", 8, "-b", 100)


def _http_floor(shop, figure, run, *spike):
    port = shop.free_port()
    with shop.server(shop.program("bench_http_spike"), port, 3600, *spike, port=port) as pid:
        options = f"http://127.0.0.1:{port}", "-c", HTTP_CONNECTIONS
        shop.load(*options, "-t", "300ms")
        before = cpu_seconds(pid)
        load = shop.load(*options, "-t", f"{SECONDS}s")
        figure.add((cpu_seconds(pid) - before) / load.acknowledged * 1e6)
    shop.say(figure.name, run, f"{figure.values[-1]:.2f} us, {load.rate:,.0f}/s")


def http(shop):
    """Sluice, spike and bare in turn, so that all three meet the same machine."""
    on = f"on {HTTP_CONNECTIONS} keep-alive connections"
    over = target("http_over_spike_us")
    whole = Figure("http_us", f"HTTP, one message per request {on}: the whole", "us/message")
    spike = Figure("http_spike_us", f"libmicrohttpd alone {on}: suspended for a pretended commit, as long as Sluice's "
                   "in the run before, resumed, answered", "us/request")
    bare = Figure("http_bare_us", f"libmicrohttpd alone {on}: answered at once", "us/request")
    rate = _rate("http_us")
    with shop.sluice("http") as s:
        shop.cost(s, "http", "-c", HTTP_CONNECTIONS, "-t", f"{SECONDS / 2}s")
        for run in range(shop.runs):
            cost = shop.cost(s, "http", "-c", HTTP_CONNECTIONS, "-t", f"{SECONDS}s")
            _add(shop, whole, rate, run, cost)
            _http_floor(shop, spike, run, round(cost.commit_us))
            _http_floor(shop, bare, run)
            over.add(cost.us - spike.values[-1], rate=cost.load.rate, rss_mb=cost.rss / 1e6)
    return [over, whole, rate, spike, bare]


def coap(shop):
    """The gateway and the echo in turn."""
    figure, ratio, rate = target("coap_us"), target("coap_echo_x"), _rate("coap_us")
    echo = Figure("coap_echo_us", f"a bare recvmmsg and sendmmsg echo, {ENDPOINTS} endpoints, the same sender",
                  "us/message")
    port = shop.free_port()
    options = "-c", ENDPOINTS, "-t", f"{SECONDS}s"
    with shop.sluice("coap") as s, shop.server(shop.program("bench_coap_echo"), port) as pid:
        for run in range(-1, shop.runs):
            cost = shop.cost(s, "coap", *options)
            before = cpu_seconds(pid)
            load = shop.load(f"coap://127.0.0.1:{port}", *options)
            bare = (cpu_seconds(pid) - before) / load.acknowledged * 1e6
            if run < 0:
                continue
            _add(shop, figure, rate, run, cost)
            echo.add(bare, rate=load.rate)
            ratio.add(cost.us / bare)
            shop.say(echo.name, run, f"{bare:.2f} us, {load.rate:,.0f}/s")
    return [figure, ratio, rate, echo]


# -- whole ways --------------------------------------------------------------------------------------------------------


def _through(shop, name, messages, sinks):
    """TCP lines until the server has everything: a number of messages, since the server is the slow one."""
    figure = target(name)
    rate = _rate(name, "messages per second, first line to last record settled")
    total = 0
    with shop.sluice("tcp", sinks) as s:
        for run in range(-1, shop.runs):
            cost = shop.cost(s, "tcp", *TCP, "-n", messages if run >= 0 else messages // 4)
            total += cost.taken
            if run < 0:
                continue
            figure.add(cost.us, rate=cost.through, rss_mb=cost.rss / 1e6)
            rate.add(cost.through)
            shop.say(name, run, f"{cost.us:.2f} us, acknowledged {cost.load.rate:,.0f}/s, through {cost.through:,.0f}/s")
        if s.metrics().sum("sluice_sink_dead_records_total"):
            raise Failed(f"{name}: there are dead letters")
    return [figure, rate], total


def _expect(name, found, total):
    if found != total:
        raise Failed(f"{name}: {total:.0f} messages were sent, and the server has {found}")


def kafka_count(broker, topic):
    """Records in all partitions of the topic."""
    from confluent_kafka import Consumer, TopicPartition

    consumer = Consumer({"bootstrap.servers": broker.bootstrap, "group.id": "bench"})
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        return sum(consumer.get_watermark_offsets(TopicPartition(topic, p), 10)[1] for p in partitions)
    finally:
        consumer.close()


def kafka(shop):
    from services import Kafka

    broker = shop.real(Kafka)
    topic = broker.create_topic("kafka_us")
    figures, total = _through(shop, "kafka_us", 500_000, {"kafka": {"brokers": broker.bootstrap, "topic": topic}})
    _expect("kafka", kafka_count(broker, topic), total)
    return figures


def elasticsearch(shop):
    from services import Search

    node = shop.real(Search)
    figures, total = _through(shop, "elasticsearch_us", 200_000,
                              {"elasticsearch": {"nodes": [node.url], "index": "whole-way"}})
    _expect("elasticsearch", node.count("whole-way"), total)
    return figures
