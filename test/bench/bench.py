"""Measures the figures of docs/benchmarks.md on this machine.

    make bench                           everything, at most 40 minutes on two cores (the servers are fetched the first
                                         time); needs 20 GB of free disk
    make bench BENCH=tcp_us,mqtt1_us     only these
    make bench BENCH_RUNS=9              that many runs instead of 5
    make bench BENCH=help                this, and the names there are

Progress goes to stderr, the table to stdout. Writes build/bench.json, a list of {name, value, unit, limit, runs,
spread}; a full run also docs/benchmarks.md and the pictures beside it. It exits with 1 when something could not be
measured; a figure that misses its limit is told, and is no error. After 40 minutes (BENCH_MINUTES) what has not begun
yet is left out, and told."""

import os
import resource
import shlex
import sys
import time

import growth
import machine
import micro
import rates
import report
import speed
import times
import whole
from figure import TARGETS, Figure, target
from workshop import Workshop

# What is called, and which targets come of it; beside them each gives other figures.
MEASUREMENTS = {
    "tcp_us": (speed.tcp, ["tcp_us"]),
    "tcp_200k_us": (speed.tcp_200k, ["tcp_200k_us", "tcp_200k_p99_ms"]),
    "mqtt0_us": (speed.mqtt0, ["mqtt0_us"]),
    "mqtt1_us": (speed.mqtt1, ["mqtt1_us"]),
    "http_batch_us": (speed.http_batch, ["http_batch_us"]),
    "http_over_spike_us": (speed.http, ["http_over_spike_us"]),
    "coap_us": (speed.coap, ["coap_us", "coap_echo_x"]),
    "ack": (times.acknowledge, ["ack_p50_x", "ack_p99_x"]),
    "single_x": (times.single, ["single_x"]),
    "slow_disk": (times.slow_disk, []),
    **rates.MEASUREMENTS,
    "lane_ns": (micro.lane, ["lane_ns", "lane_ck_x"]),
    "validator_us": (micro.validator, ["validator_us"]),
    "crc": (micro.crc, []),
    "journal": (micro.journal, []),
    "malloc": (micro.malloc, []),
    "idle": (times.idle, ["idle_kb", "idle_cpu"]),
    "reconnect_s": (times.reconnect, ["reconnect_s"]),
    "start_ms": (times.start, ["start_ms"]),
    "recovery_s": (times.recovery, ["recovery_s"]),
    "kafka_us": (speed.kafka, ["kafka_us"]),
    "elasticsearch_us": (speed.elasticsearch, ["elasticsearch_us"]),
}
PARTS = {"whole": whole.whole, "growth": growth.growth}  # tables and curves, no figures


def choose(text):
    """Names of measurements and parts, in the order they are made; text: BENCH. None and what is unknown on error."""
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    of_target = {name: key for key, (_, names) in MEASUREMENTS.items() for name in names}
    unknown = [name for name in wanted if name not in MEASUREMENTS and name not in PARTS and name not in of_target]
    if unknown:
        return None, unknown
    keys = {of_target.get(name, name) for name in wanted}
    return [key for key in [*MEASUREMENTS, *PARTS] if not wanted or key in keys], []


def _missing(key, why):
    """The targets of a measurement, or a figure of its name, with the reason instead of values."""
    figures = [target(name) for name in MEASUREMENTS[key][1]] or [Figure(key, "", "")]
    for figure in figures:
        figure.missing = f"not measured: {why}".splitlines()[0][:100]
    return figures


def measure(shop, key):
    try:
        return MEASUREMENTS[key][0](shop)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest's failures, which the harness raises, are no Exceptions
        print(f"{key}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return _missing(key, error)


def command_line():
    words = [f"{key}={shlex.quote(os.environ[key])}" for key in ("BENCH", "BENCH_RUNS") if os.environ.get(key)]
    return " ".join(["make bench", *words])


def disk_facts(shop):
    rate, synced = shop.disk_rate(), shop.disk(shop.dir, 1 << 20)
    facts = {"disk, O_DIRECT": f"{rate:,.0f} MiB/s in blocks of 1 MiB; {synced['mib_s']:,.0f} with a sync each"}
    for size, every in ((4096, 5000), (256 << 10, 1000)):
        took = shop.disk(shop.dir, size, every)
        facts[f"write and sync of {size >> 10} KiB"] = (f"{took['p50_us']:.0f} us, p99 {took['p99_us']:.0f} us "
                                                        f"(one each {every / 1000:.0f} ms)")
    return facts


def show(facts):
    for name, text in facts.items():
        print(f"{name + ':':<30}{text}")
    sys.stdout.flush()


def carry_out(shop, chosen, minutes):
    begun, figures, parts = time.monotonic(), [], {}
    for key in chosen:
        if time.monotonic() - begun > minutes * 60:
            print(f"{key}: left out: {minutes:g} minutes are over (BENCH_MINUTES)", file=sys.stderr, flush=True)
            figures += _missing(key, f"{minutes:g} minutes were over") if key in MEASUREMENTS else []
        elif key in PARTS:
            parts[key] = PARTS[key](shop)
        else:
            figures += measure(shop, key)
    return figures, parts


def main():
    text = os.environ.get("BENCH", "")
    if text == "help" or "--help" in sys.argv:
        print(f"{__doc__}\n\nNames: {', '.join([*MEASUREMENTS, *PARTS])}; and every target: {', '.join(TARGETS)}")
        return 0
    chosen, unknown = choose(text)
    if unknown:
        print(f"bench: BENCH={','.join(unknown)}: there are {', '.join([*MEASUREMENTS, *PARTS])} (BENCH=help tells "
              "more)", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    shop = Workshop(int(os.environ.get("BENCH_RUNS") or 5))
    begun = time.monotonic()
    try:
        facts = {**machine.facts(shop.dir, shop.sluice_program), **disk_facts(shop)}
        show(facts)
        figures, parts = carry_out(shop, chosen, float(os.environ.get("BENCH_MINUTES") or 40))
    finally:
        shop.close()
    facts["load average during the runs"] = f"{min(shop.loads):.1f} - {max(shop.loads):.1f}"
    facts["time it took"] = f"{(time.monotonic() - begun) / 60:.0f} minutes"
    print(f"{'load average during the runs:':<30}{facts['load average during the runs']}\n\n{report.table(figures)}")
    report.write_figures(shop.programs / "bench.json", figures)
    if not text:
        report.write_run(shop.programs / "bench-run.json", figures,
                         {"command": command_line(), "machine": facts, **parts})
        report.write_docs(shop.programs, machine.ROOT / "docs")
        print("\nwritten: docs/benchmarks.md")
    missed = [f.name for f in figures if f.ok is False and not f.missing]
    if missed:
        print(f"\nlimit missed: {', '.join(missed)}")
    return 1 if any(f.missing for f in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
