"""What parts of the gateway cost by themselves: lane, JSON check, one commit; and what is allocated per message."""

import re
import statistics
import struct

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
        text, told = shop.run("bench_lane"), []
        for batch, figure in figures.items():
            match = re.search(rf"^batch {batch}: ([\d.]+|-) ns, (\d+) rounds, (\d+) disturbed", text, re.M)
            if not match:
                raise Failed(f"bench_lane said: {text.strip()[:300]}")
            if match.group(1) != "-":
                figure.add(float(match.group(1)))
            told.append(f"{match.group(1)} ns by {batch} ({match.group(3)} disturbed)")
        shop.say("lane", run, ", ".join(told))
    for figure in figures.values():
        if not figure.values:
            figure.missing = "not measured: other programs took the cores"
    return list(figures.values())


def json(shop):
    """bench_json itself takes the median of 5 runs of each row."""
    figure = Figure("json check", "strict check of a JSON document, a different one each time", "ns/document", digits=0)
    match = re.search(r"^json_check, mixed documents +\d+ +([\d.]+)", shop.run("bench_json"), re.M)
    if not match:
        raise Failed("bench_json has no row json_check, mixed documents")
    figure.add(float(match.group(1)))
    shop.say(figure.name, 0, f"{figure.values[0]:.0f} ns")
    return [figure]


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
