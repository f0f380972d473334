"""How figures grow: with connections, with the rate, with the backlog, with devices. Each is a curve in docs/."""

import statistics

import speed
import times
from workshop import Failed

RUNS = 3
GIB = 1 << 30


def _curve(name, **of):
    return {"name": name, "points": [], **of}


def _median(shop, s, listener, *options, devices=None):
    costs = [shop.cost(s, listener, *options, devices=devices) for _ in range(RUNS)]
    return {"us": statistics.median(c.us for c in costs), "rate": statistics.median(c.load.rate for c in costs),
            "p50_ms": statistics.median(c.load.us("p50_us") for c in costs) / 1e3,
            "p99_ms": statistics.median(c.load.us("p99_us") for c in costs) / 1e3,
            "rss_mb": max(c.rss for c in costs) / 1e6}


def connections(shop):
    """8,000 messages on their way (MQTT: 800), spread over ever more connections."""
    out = []
    for listener, under_way in (("tcp", 8000), ("mqtt", 800)):
        curve = _curve(f"{listener}", x="connections")
        for count in (1, 10, 100, 1000, 10_000):
            with shop.sluice(listener) as s:
                options = "-c", count, "-w", max(under_way // count, 1)
                shop.cost(s, listener, *options, "-t", "300ms", devices=None)
                point = _median(shop, s, listener, *options, "-t", "1s")
            curve["points"].append({"x": count, **point})
            shop.say("connections", None, f"{listener}, {count:,}: {point['us']:.2f} us, {point['rate']:,.0f}/s")
        out.append(curve)
    return out


def rates(shop):
    """TCP lines in an open loop, to four fifths of saturation and beyond."""
    most = speed.saturation(shop)
    steps = [10_000, 50_000, 100_000, 200_000, 400_000] + [most * share for share in (0.4, 0.6, 0.8, 0.9)]
    curve = _curve("tcp", x="messages a second")
    with shop.sluice("tcp") as s:
        shop.cost(s, "tcp", *speed.TCP, "-t", "500ms")
        for rate in sorted(steps):
            point = _median(shop, s, "tcp", "-c", 8, "-w", 100_000, "-r", int(rate), "-t", "1s", devices=1024)
            curve["points"].append({"x": rate, **point})
            shop.say("rate", None, f"{rate:,.0f}/s: {point['us']:.2f} us, p50 {point['p50_ms']:.2f} ms, "
                     f"p99 {point['p99_ms']:.2f} ms")
    return [curve]


def devices(shop):
    curve = _curve("tcp", x="devices")
    for count in (8, 100, 1000, 10_000, 100_000, 1_000_000):
        with shop.sluice("tcp") as s:
            shop.cost(s, "tcp", *speed.TCP, "-t", "300ms", devices=count)
            point = _median(shop, s, "tcp", *speed.TCP, "-t", "1s", devices=count)
        curve["points"].append({"x": count, **point})
        shop.say("devices", None, f"{count:,}: {point['us']:.2f} us, {point['rss_mb']:.0f} MB")
    return [curve]


def backlog(shop):
    """Sink down; killed, journal dropped from the page cache, started again; then drained to a null sink."""
    curve = _curve("journal", x="GiB of journal")
    for gib in (0, 1, 2.5, 5, 10):
        with times.backlog(shop, int(gib * GIB)) as b:
            b.grow(int(gib * GIB))
            size = b.bytes() / GIB
            recovered = statistics.median(b.recover() for _ in range(RUNS))
            records, seconds = b.drain()
        curve["points"].append({"x": size if gib else 0, "recovery_s": recovered,
                                "drain_rate": records / seconds if gib else None})
        shop.say("backlog", None, f"{size:.1f} GiB: ready after {recovered:.2f} s; {records:,.0f} records drained in "
                 f"{seconds:.1f} s")
    return [curve]


CURVES = {"connections": connections, "rate": rates, "devices": devices, "backlog": backlog}


def growth(shop):
    """Curves by name, for build/bench-run.json, docs/benchmarks.md and the pictures beside it."""
    out = {}
    for name, measure in CURVES.items():
        try:
            out[name] = measure(shop)
        except (Failed, AssertionError) as error:
            shop.say(name, None, f"not measured: {error}")
            out[name] = []
    return out
