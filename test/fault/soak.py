"""Hours of ordinary traffic; fails if anything grows: resident memory, descriptors, threads, identifiers kept across a crash, files
and bytes of the journal.

    make soak [SOAK=30m] [SOAK_RATE=4000]

sluice-load sends on all four protocols for that time (MQTT with QoS 2 and persistent sessions; every connection is closed and
opened again every 7 s), and everything is sampled once a second. Before that it sends as fast as it can for some seconds: buffers are
kept for the next burst, on purpose, and must have their size before the samples begin. A line is fitted to the samples after the
warm-up, the first third but at most five minutes: its rise or fall from end to end is the drift, and must be within one per cent, or
within the quantity's grain. Then everything that was acknowledged must be there.

The curves are in build/soak.svg, the verdict in build/soak.json. Item 12 of the campaign is the same, for SOAK_S seconds."""

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "system"), str(HERE.parent / "bench")]

from harness import DEFAULTS, Sluice, merge  # noqa: E402 (test/system)
from plot import chart  # noqa: E402 (test/bench)
from sending import Sending, errors, target, verify  # noqa: E402

SHARE = 0.01
TOTALS = ("sent", "acknowledged", "missing", "twice", "unknown")
WARM_UP_MAX_S = 300
MIB = 1 << 20

# name, label, grain: a drift up to the grain counts as none, whatever its share. Those of JOURNAL may fall: the burst left more.
JOURNAL = ("state", "files", "journal")
QUANTITIES = [
    ("memory", "resident memory, bytes", 1 * MIB),  # the allocator gives pages back in steps, some ten seconds after their use
    ("descriptors", "open descriptors", 1),
    ("threads", "threads", 0),
    ("state", "identifiers kept across a crash", 8),
    ("files", "files of the journal, those ready for use too", 4),
    ("journal", "bytes of the journal that hold records", 8 * MIB),
]

# Small buffers: with the defaults (tail_memory, spare blocks) some megabytes come and go with every pause of the machine, and would
# hide a small leak.
LANE = {"lane": "128KiB", "max_payload": "16KiB"}
CONFIGURATION = {
    "journal": {"segment": "1MiB", "block": "256KiB", "tail_memory": "256KiB"},
    "listeners": {"tcp": {"reply": "count", "device": ["/device"], **LANE}, "coap": {"exchanges": 512, **LANE}, "mqtt": LANE, "http": LANE},
    "sinks": {"file": {"rotate_bytes": "256MiB", "sync_interval": "1s"}},
}
SHORT_S = 120


def sample(gateway):
    process, metrics = Path(f"/proc/{gateway.pid}"), gateway.metrics()
    return {"memory": gateway.memory(), "descriptors": sum(1 for _ in (process / "fd").iterdir()),
            "threads": sum(1 for _ in (process / "task").iterdir()), "state": metrics.sum("sluice_journal_state_items"),
            "files": sum(1 for _ in (gateway.data / "journal").iterdir()), "journal": metrics.sum("sluice_journal_bytes")}


def drift(points):
    """(Rise of the least-squares line through (time, value) from end to end, mean value)."""
    mean_t, mean_v = (sum(p[i] for p in points) / len(points) for i in (0, 1))
    spread = sum((t - mean_t) ** 2 for t, _ in points)
    slope = sum((t - mean_t) * (v - mean_v) for t, v in points) / spread if spread else 0
    return slope * (points[-1][0] - points[0][0]), mean_v


def judge(samples, seconds):
    """By quantity: {drift, mean, flat ...}, of the samples after the warm-up."""
    warm_up = min(seconds / 3, WARM_UP_MAX_S)
    out = {}
    for name, _, grain in QUANTITIES:
        points = [(t, values[name]) for t, values in samples if t >= warm_up]
        rise, mean = drift(points)
        counts = max(rise, 0) if name in JOURNAL else abs(rise)
        out[name] = {"drift": round(rise, 3), "mean": round(mean, 3), "share": round(rise / mean, 5) if mean else 0,
                     "least": min(v for _, v in points), "most": max(v for _, v in points),
                     "flat": counts <= max(SHARE * abs(mean), grain)}
    return out


def draw(samples, title, caption):
    panels = [(label, [(name, [(t, values[name]) for t, values in samples])], False) for name, label, _ in QUANTITIES]
    return chart(title, caption, "seconds", panels, log_x=False)


def burst(directory, gateway, seconds):
    targets = [target(gateway, name, connections=10, window=window) for name, window in {"mqtt": 1000, "tcp": 1000}.items()]
    targets += [target(gateway, "coap", connections=10, window=8), target(gateway, "http", connections=10, batch=100)]
    return Sending(directory, "burst", targets, "-t", f"{seconds}s").finish()


def load(directory, gateway, seconds, rate):
    own = {"mqtt": {"qos": 2, "connections": 10}, "coap": {"window": 8, "connections": 10}, "tcp": {"connections": 10},
           "http": {"connections": 10}}
    targets = [target(gateway, name, rate=max(1, rate // 4), reconnect_every="7s" if name != "coap" else 0, **options)
               for name, options in own.items()]
    return Sending(directory, "soak", [t.replace(",reconnect-every=0", "") for t in targets], "-t", f"{seconds}s")


def soak(directory, seconds, rate, report, every_s):
    """Returns (verdicts by quantity, totals of verify, samples, results of the load)."""
    gateway, sending = Sluice(directory, merge(DEFAULTS, CONFIGURATION)).start(), None
    try:
        burst(directory, gateway, 1 if seconds < SHORT_S else 10)
        sending, samples, began, reported_at = load(directory, gateway, seconds, rate), [], time.monotonic(), 0
        while sending.running():
            at = time.monotonic() - began
            if at < seconds:  # after that the load is ending
                samples.append((at, sample(gateway)))
            if at - reported_at >= every_s:
                reported_at = at
                now = samples[-1][1]
                report(f"{at:.0f} of {seconds} s: {now['memory'] / MIB:.1f} MiB, {now['descriptors']} descriptors, "
                       f"{now['threads']} threads, {now['state']:.0f} identifiers, {now['files']} files of the journal")
            time.sleep(max(0, 1 - (time.monotonic() - began - at)))
        figures = sending.finish()
        wrong = gateway.finish()
        if wrong:
            raise RuntimeError(wrong)
        totals = [verify(directory / f"{run}.ledger", gateway.file) for run in ("burst", "soak")]
        return judge(samples, seconds), {key: sum(t[key] for t in totals) for key in TOTALS}, samples, figures
    finally:
        if sending:
            sending.close()
        if gateway.running():
            gateway.finish()


def table(verdicts, out=print):
    for name, label, _ in QUANTITIES:
        v = verdicts[name]
        out(f"  {label:46} {v['least']:>14,.0f} to {v['most']:>14,.0f}   drift {v['drift']:>+14,.1f} ({v['share']:+.2%})   "
            f"{'flat' if v['flat'] else 'NOT FLAT'}")


def seconds_of(text):
    unit = {"s": 1, "m": 60, "h": 3600}.get(text[-1:], 0)
    try:
        value = int(text[:-1] if unit else text) * (unit or 1)
    except ValueError:
        value = 0
    if value < 10:
        raise argparse.ArgumentTypeError(f"{text}: a time of at least 10 s, such as 90s, 30m or 24h")
    return value


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--time", type=seconds_of, default="30m", help="%(default)s")
    p.add_argument("--rate", type=int, default=4000, help="messages a second, all protocols together; %(default)s")
    p.add_argument("--out", type=Path, default=Path("build"), help="where soak.svg and soak.json go; %(default)s")
    a = p.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("soak: ended by SIGTERM"))
    work = Path(tempfile.mkdtemp(prefix="sluice-soak-"))
    need, free = a.time * a.rate * 600 + (1 << 30), shutil.disk_usage(work).free
    if free < need:
        sys.exit(f"soak: {work}: about {need >> 30} GiB are needed for {a.rate}/s over {a.time} s, {free >> 30} are free: "
                 "set TMPDIR to a directory with more room, or lower SOAK or SOAK_RATE")
    verdicts, total, samples, figures = soak(work, a.time, a.rate, lambda text: print(f"soak: {text}", flush=True), 10)
    wrong = errors(figures)
    row = {"item": 12, "seconds": a.time, "rate": a.rate, "sent": total["sent"], "acknowledged": total["acknowledged"],
           "missing": total["missing"], "twice": total["twice"], "errors": wrong, "verdicts": verdicts}
    a.out.mkdir(parents=True, exist_ok=True)
    (a.out / "soak.json").write_text(json.dumps(row, indent=1) + "\n")
    (a.out / "soak.svg").write_text(draw(samples, f"A soak of {a.time} s", f"{total['acknowledged']} messages acknowledged, "
                                                                           f"{total['missing']} missing"))
    print(f"{total['sent']} sent, {total['acknowledged']} acknowledged, {total['missing']} missing, {total['twice']} twice")
    table(verdicts)
    good = not total["missing"] and not wrong and all(v["flat"] for v in verdicts.values())
    print(f"soak: {'flat, nothing is missing' if good else f'FAILED {wrong or str()}; kept: {work}'}; {a.out}/soak.svg, {a.out}/soak.json")
    if good:
        shutil.rmtree(work)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
