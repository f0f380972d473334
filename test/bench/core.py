"""What parts of the gateway cost by themselves: lane, JSON check, one commit; and what is allocated per message."""

import statistics
import struct
from json import loads

from figure import Figure
from machine import sync_times
from speed import CONNECTIONS, ENDPOINTS, HTTP_CONNECTIONS, TCP
from workshop import Failed

COUNTERS = "own allocations", "library allocations", "own frees", "library frees", "own locks", "library locks"


def lane(shop):
    """Time by the clock is worth something only if both threads had a core: bench_lane sees to that, and says how many
    rounds it had to leave out."""
    figures = {}
    for batch in (1, 16, 64):
        what = f"256-byte records through a lane, two threads, published {batch} at a time; by the clock"
        figures[batch] = Figure(f"lane, by {batch}", what, "ns/record", 25 if batch >= 16 else None, 1)
    for run in range(shop.runs):
        told = []
        for row in _rows(shop, "bench_lane", by="sluice", bytes=256):
            figure = figures.get(row["batch"])
            if figure and row["value"] is not None:
                figure.add(row["value"])
            told.append(f"{row['value']} ns by {row['batch']} ({row['disturbed']} disturbed)")
        shop.say("lane", run, ", ".join(told))
    for figure in figures.values():
        if not figure.values:
            figure.missing = "not measured: other programs took the cores"
    return list(figures.values())


def json(shop):
    """bench_validator itself takes the median of its runs."""
    figure = Figure("json check", "strict check of a JSON document, a different one each time", "ns/document", digits=0)
    for row in _rows(shop, "bench_validator", name="validator_us", by="sluice", shape="telemetry"):
        figure.add(row["value"] * 1000)
    shop.say(figure.name, 0, f"{figure.values[0]:.0f} ns")
    return [figure]


def _rows(shop, program, **labels):
    """The figures that a small benchmark prints, one JSON object a line, of those that have these labels."""
    rows = [loads(line) for line in shop.run(program).splitlines()]
    found = [row for row in rows if all(row.get(key) == value for key, value in labels.items())]
    if not found:
        raise Failed(f"{program} has no figure with {labels}")
    return found


def commit(shop):
    """One message at a time on an otherwise idle gateway: every message is a commit of 4 KiB."""
    whole = Figure("tcp, alone", "a line, from its send to its ok, with nothing else going on", "us", digits=0)
    commits = Figure("commit, alone", "of that: gather, write and sync one block of 4 KiB", "us", digits=0)
    raw = Figure("write and sync", "write and fdatasync 4 KiB with O_DIRECT from a small loop", "us", digits=0)
    with shop.sluice({"tcp": TCP}) as s:
        for run in range(-1, shop.runs):
            times = sync_times(shop.dir, 4096, 1000)
            _, report = shop.cost(s, "bench_send", "tcp", *s.address("tcp"), 1, 1, 2000)
            if run < 0:
                continue
            if times:
                raw.add(statistics.median(times) * 1e6)
            whole.add(report["seconds"] / report["messages"] * 1e6)
            commits.add(report["commit_us"])
            shop.say("commit", run, f"answer {whole.values[-1]:.0f} us, commit {commits.values[-1]:.0f} us, "
                     f"raw {raw.values[-1] if times else 0:.0f} us")
    return [whole, commits, raw]


def malloc(shop):
    """Under a library that counts; so nothing here says anything about time."""
    listeners = {"tcp": TCP, "mqtt": {"protocol": "mqtt"}, "coap": {"protocol": "coap"}, "http": {"protocol": "http"}}
    counts = shop.directory("counts") / "counters"
    env = {"LD_PRELOAD": shop.program("malloc_count.so"), "MALLOC_COUNT_FILE": str(counts)}
    figures = []
    with shop.sluice(listeners, env=env) as s:
        senders = {
            "tcp": ("bench_send", "tcp", *s.address("tcp"), CONNECTIONS, 1000),
            "mqtt1": ("bench_send", "mqtt", *s.address("mqtt"), CONNECTIONS, 100),
            "coap": ("bench_coap_send", *s.address("coap"), ENDPOINTS, 1),
            "http": ("bench_http_send", *s.address("http"), HTTP_CONNECTIONS),
        }
        for name, args in senders.items():
            messages, last = (50_000, (1,)) if name == "http" else (200_000, ())
            limit = 0.2 if name == "http" else 0.05  # none per message; some per commit, which in HTTP has 64 messages
            own = Figure(f"malloc, {name}", "allocations per message by the program itself, journal and sink included",
                         "1/message", limit, 3)
            locks = Figure(f"lock, {name}", "the same for mutexes that are locked", "1/message", limit, 3)
            library = Figure(f"malloc, {name}, libraries", "allocations by libraries", "1/message", digits=3)
            for run in range(-1, shop.runs):
                before = _counters(counts)
                shop.cost(s, *args, messages, *last)
                used = {key: (value - before[key]) / messages for key, value in _counters(counts).items()}
                if run < 0:
                    continue
                own.add(used["own allocations"])
                locks.add(used["own locks"])
                library.add(used["library allocations"])
                shop.say(own.name, run, ", ".join(f"{used[key]:.3f} {key}" for key in COUNTERS if "frees" not in key))
            figures += [own, locks, library]
    return figures


def _counters(path):
    return dict(zip(COUNTERS, struct.unpack("=6Q", path.read_bytes())))
