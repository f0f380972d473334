"""What parts of the gateway cost by themselves, from the small C programs; and what is allocated per message."""

import struct

from figure import Figure, target
from workshop import LISTENERS

COUNTERS = "own allocations", "library allocations", "own frees", "library frees", "own locks", "library locks"


def _of_row(row, figure, scale=1):
    """The figure with what a program of its own found: the median of its runs and the ends of its spread."""
    if row["value"] is None:
        figure.missing = "not measured: other programs took the cores"
        return figure
    low, high = row["spread"]
    middle = [row["value"]] * max(row["runs"] - 2, 1)
    figure.values = [scale * value for value in ([low, *middle, high] if row["runs"] > 2 else middle)]
    return figure


def lane(shop):
    """By the clock, so it counts only where both threads had a core: bench_lane sees to that."""
    def find(**labels):
        return shop.rows("bench_lane", bytes=256, **labels)[0]
    ours, ring = find(by="sluice", batch=64), next(
        row for row in shop.rows("bench_lane", bytes=256) if row["by"] != "sluice")
    figure = _of_row(ours, target("lane_ns"))
    beside = _of_row(ring, Figure("ck_ring_ns", "ck_ring moving the same bytes", "ns/record", digits=1))
    ratio = target("lane_ck_x")
    if figure.values and beside.values:
        ratio.add(figure.value / beside.value)
    else:
        ratio.missing = "not measured: other programs took the cores"
    others = [_of_row(row, Figure(f"lane_{row['bytes']}_by_{row['batch']}_ns",
                                  f"lane, {row['bytes']}-byte record, published every {row['batch']}", "ns/record",
                                  digits=1))
              for row in shop.rows("bench_lane", by="sluice") if row is not ours]
    shop.say("lane", None, f"{figure.text(figure.value)} ns beside {figure.text(beside.value)}")
    return [figure, ratio, beside, *others]


def validator(shop):
    rows = shop.rows("bench_validator", name="validator_us", shape="telemetry")
    figures = [_of_row(row, target("validator_us") if row["by"] == "sluice" else
                       Figure(f"validator_{row['by']}_us".replace(" ", "_"), f"{row['by']}, the same documents",
                              "us/document", digits=3)) for row in rows]
    figures.sort(key=lambda figure: figure.limit is None)
    for row in shop.rows("bench_validator", name="validator_us", by="sluice"):
        if row["shape"] != "telemetry":
            name = f"validator_{row['shape']}_us".replace(" ", "_")
            figures.append(_of_row(row, Figure(name, f"JSON validator, shape {row['shape']}, {row['bytes']:.0f} bytes",
                                               "us/document", digits=3)))
    shop.say("validator", None, ", ".join(f"{f.name} {f.text(f.value)}" for f in figures[:3]))
    return figures


def crc(shop):
    figures = []
    for row in shop.rows("bench_crc"):
        labels = " ".join(str(value) for key, value in row.items() if key in ("by", "bytes"))
        figures.append(_of_row(row, Figure(f"{row['name']}_{labels}".replace(" ", "_"), f"CRC-32C, {labels} bytes",
                                           row["unit"], digits=3)))
    shop.say("crc", None, ", ".join(f"{f.name} {f.text(f.value)}" for f in figures[:3]))
    return figures


def journal(shop):
    """Append and commit, beside what the disk itself takes."""
    figures = []
    for row in shop.rows("bench_journal", shop.dir, 0.3):
        if row["name"] == "journal_us":
            lanes = "one lane" if row["lanes"] == 1 else f"{row['lanes']} lanes"
            what = (f"append and commit of 256-byte records, {row['how']}, {lanes}: {row['records_s']:,.0f} records/s "
                    f"in blocks of {row['kib']:.0f} KiB, {row['mib_s']:.0f} MiB/s")
            name, unit = f"journal_{row['how']}_{row['lanes']}_us", "us/record"
        else:
            what = (f"O_DIRECT write and fdatasync of {row['kib']:.0f} KiB ({row['how']}), by the clock: "
                    f"{row['mib_s']:.0f} MiB/s")
            name = f"disk_{row['kib']:.0f}_us" if row["how"] == "given" else "disk_as_journal_us"
            unit = "us/block"
        figures.append(_of_row(row, Figure(name, what, unit)))
    shop.say("journal", None, ", ".join(f"{f.name} {f.text(f.value)}" for f in figures[:3]))
    return figures


def malloc(shop):
    """Under a library that counts; so nothing here says anything about time."""
    counts = shop.directory("counts") / "counters"
    env = {"LD_PRELOAD": shop.program("malloc_count.so"), "MALLOC_COUNT_FILE": str(counts)}
    figures = []
    loads = {"tcp": ("-c", 8, "-w", 1000), "mqtt": ("-c", 8, "-w", 100), "coap": ("-c", 1000), "http": ("-c", 64)}
    with shop.sluice(LISTENERS, env=env) as s:
        for name, options in loads.items():
            limit = 0.2 if name == "http" else 0.05  # none per message; some per commit, which in HTTP has 64 messages
            own = Figure(f"malloc_{name}", "allocations per message by the program itself, journal and sink included",
                         "1/message", limit, 3)
            locks = Figure(f"lock_{name}", "the same for mutexes that are locked", "1/message", limit, 3)
            library = Figure(f"malloc_{name}_libraries", "allocations by libraries", "1/message", digits=3)
            for run in range(-1, shop.runs):
                before = _counters(counts)
                cost = shop.cost(s, name, *options, "-n", 40_000 if name == "http" else 200_000)
                used = {key: (value - before[key]) / cost.taken for key, value in _counters(counts).items()}
                if run < 0:
                    continue
                own.add(used["own allocations"])
                locks.add(used["own locks"])
                library.add(used["library allocations"])
            shop.say(own.name, None, ", ".join(f"{used[key]:.3f} {key}" for key in COUNTERS if "frees" not in key))
            figures += [own, locks, library]
    return figures


def _counters(path):
    return dict(zip(COUNTERS, struct.unpack("=6Q", path.read_bytes())))
