"""The whole of it: each protocol, one and many connections, levels of acknowledgement, sizes, sinks. One thing at a time
is other than usual; a combination takes a few seconds, so these tell what matters, not the last per cent."""

import statistics

import speed
from workshop import DEVICES, FILE_SINK, LISTENERS, NULL_SINK, Failed

RUNS = 3
SECONDS = 1
BATCH = {"-b": 100}
USUAL = {
    "tcp": {"-c": 8, "-w": 1000},
    "mqtt": {"-c": 8, "-w": 100, "-q": 1},
    "http": {"-c": 64},
    "coap": {"-c": 1000},
}
SIZES = {"tcp": (64, 1024, 16384, 65536), "mqtt": (64, 1024, 16384, 65536), "http": (64, 1024, 16384, 65536),
         "coap": (64, 512, 1024)}  # of CoAP what fits a datagram
SMALL = '{"device":"{device}","t":{walk:10:30}}'


def size_options(size):
    """64 bytes have no room for what tells messages apart."""
    return {"-s": size, **({"--raw": None, "-p": SMALL} if size < 150 else {})}


def cells():
    """(protocol, what is other than usual, options, listener settings, sink)."""
    for protocol, usual in USUAL.items():
        yield protocol, "as usual", {}, {}, "null"
        if protocol == "mqtt":
            yield protocol, "QoS 0", {"-q": 0}, {}, "null"
            yield protocol, "QoS 2", {"-q": 2}, {}, "null"
        if protocol == "coap":
            yield protocol, "NON", {"-q": 0}, {}, "null"
        if protocol == "http":
            yield protocol, "batches of 100, 8 connections", {"-c": 8, **BATCH}, {}, "null"
        for connections in (1, 1000) if protocol != "coap" else (1, 100):
            one = {"-c": connections}
            if protocol == "tcp" and connections > 8:
                one["-w"] = usual["-w"] * 8 // connections
            yield protocol, f"{connections:,} connection{'s' * (connections > 1)}", one, {}, "null"
        for size in SIZES[protocol]:
            few = protocol == "http" and size > 16384  # 64 such requests at once are more than a lane takes: 503
            yield (protocol, f"{size:,} bytes" + ", 8 connections" * few,
                   {**size_options(size), **({"-c": 8} if few else {})}, {}, "null")
        for ack in ("accepted", "delivered"):
            yield protocol, f"ack: {ack}", {}, {"ack": ack}, "null"
        yield protocol, "to a file", {}, {}, "file"
    for sink in ("Kafka", "Elasticsearch"):  # one server at a time
        for protocol in USUAL:
            yield protocol, f"to {sink}", {}, {}, sink.lower()


def _sink(shop, kind):
    if kind == "kafka":
        from services import Kafka
        return {"kafka": {"brokers": shop.real(Kafka).bootstrap, "topic": "whole"}}
    if kind == "elasticsearch":
        from services import Search
        return {"elasticsearch": {"nodes": [shop.real(Search).url], "index": "whole"}}
    return {"null": NULL_SINK, "file": FILE_SINK}[kind]


def flat(options):
    return [part for key, value in options.items() for part in (key, value) if part is not None]


def _cell(shop, protocol, other, settings, sink):
    """Median of its runs: processor time, rate, latency."""
    settings = {**LISTENERS[protocol], **settings}
    if protocol == "tcp":
        settings["max_line"] = "128KiB"
    if protocol == "http":
        settings["max_body"] = "2MiB"
    options = {**USUAL[protocol], **other}
    # A server that is slower than the gateway gets a number of messages, or the backlog would be what is measured.
    end = {"kafka": {"-n": 200_000}, "elasticsearch": {"-n": 60_000}}.get(sink, {"-t": f"{SECONDS}s"})
    if protocol == "http" and "-n" in end and "-b" not in options:
        end = {"-n": 30_000}
    config = {"journal": {"max_bytes": "4GiB", "max_share": "50%"}}
    with shop.sluice({protocol: settings}, _sink(shop, sink), config) as s:
        def run(**more):
            return shop.cost(s, protocol, *flat({**options, **end, **more}), devices=max(DEVICES, options["-c"]),
                             lossy=protocol == "coap")
        first = run() if "-n" in end else run(**{"-t": "300ms"})
        limit = dict([speed.cap(shop, first)]) if speed.cap(shop, first) else {}
        costs = [first] if sink == "elasticsearch" else [run(**limit) for _ in range(RUNS)]
    return {"us": statistics.median(c.us for c in costs),
            "rate": statistics.median(c.through if "-n" in end else c.load.rate for c in costs),
            "p50_ms": statistics.median(c.load.us("p50_us") for c in costs) / 1e3,
            "p99_ms": statistics.median(c.load.us("p99_us") for c in costs) / 1e3,
            "rss_mb": max(c.rss for c in costs) / 1e6, "runs": len(costs),
            "busy": sum(c.load.busy for c in costs) / sum(c.load.sent for c in costs)}


def whole(shop):
    """A list of rows, for build/bench-run.json and docs/benchmarks.md."""
    rows = []
    chosen = list(cells())
    for i, (protocol, what, other, settings, sink) in enumerate(chosen):
        row = {"protocol": protocol, "what": what}
        try:
            row.update(_cell(shop, protocol, other, settings, sink))
            text = f"{row['us']:.2f} us, {row['rate']:,.0f}/s, p99 {row['p99_ms']:.2f} ms"
        except (Failed, AssertionError) as error:
            row["missing"] = str(error)[:200]
            text = row["missing"]
        rows.append(row)
        shop.say(f"whole {i + 1}/{len(chosen)}", None, f"{protocol}, {what}: {text}")
    return sorted(rows, key=lambda row: list(USUAL).index(row["protocol"]))
