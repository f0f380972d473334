"""make bench: measures the figures of docs/benchmarks.md on this machine.

    make bench                       everything, about 3 minutes once the servers are fetched; writes
                                     docs/benchmarks.md and docs/benchmarks.svg
    make bench BENCH=tcp,mqtt1       only these; prints, and writes build/bench.json
    make bench BENCH_RUNS=9          that many runs instead of 5

Progress goes to stderr, the table to stdout. It exits with 1 when something could not be measured; a figure that
misses its limit is told, and is no error."""

import os
import resource
import shlex
import sys
import time

import core
import machine
import report
import space
import speed
from figure import Figure
from workshop import Workshop

MEASUREMENTS = {
    "tcp": speed.tcp,
    "mqtt1": speed.mqtt1,
    "mqtt0": speed.mqtt0,
    "http": speed.http,
    "ndjson": speed.ndjson,
    "coap": speed.coap,
    "kafka": speed.kafka,
    "elasticsearch": speed.elasticsearch,
    "lane": core.lane,
    "json": core.json,
    "commit": core.commit,
    "malloc": core.malloc,
    "start": space.start,
    "idle": space.idle,
}


def measure(shop, name):
    """Its figures; one without values when it could not be measured."""
    try:
        return MEASUREMENTS[name](shop)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # pytest's failures, which the harness raises, are no Exceptions
        figure = Figure(name, "", "")
        figure.missing = f"not measured: {error}".splitlines()[0][:200]
        print(f"{name}: {error}", file=sys.stderr, flush=True)
        return [figure]


def command_line():
    words = [f"{key}={shlex.quote(os.environ[key])}" for key in ("BENCH", "BENCH_RUNS") if os.environ.get(key)]
    return " ".join(["make bench", *words])


def main():
    chosen = [name for name in os.environ.get("BENCH", "").split(",") if name] or list(MEASUREMENTS)
    unknown = [name for name in chosen if name not in MEASUREMENTS]
    if unknown:
        print(f"bench: BENCH={','.join(unknown)}: there are {', '.join(MEASUREMENTS)}", file=sys.stderr)
        return 2
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    shop = Workshop(int(os.environ.get("BENCH_RUNS") or 5))
    begun, figures = time.monotonic(), []
    try:
        facts = machine.facts(shop.dir, shop.sluice_program)
        for name, text in facts.items():
            print(f"{name + ':':<27}{text}")
        sys.stdout.flush()
        for name in chosen:
            figures += measure(shop, name)
    finally:
        shop.close()
    facts["load average during the runs"] = f"{min(shop.loads):.1f} - {max(shop.loads):.1f}"
    facts["time it took"] = f"{(time.monotonic() - begun) / 60:.0f} minutes"
    print(f"{'load average:':<27}{facts['load average during the runs']}\n\n{report.table(figures)}")
    report.write_json(shop.programs / "bench.json", command_line(), facts, figures)
    if len(chosen) == len(MEASUREMENTS):
        docs = machine.ROOT / "docs"
        report.write_markdown(docs / "benchmarks.md", command_line(), facts, figures)
        caption = f"median of {shop.runs} runs, the line from the least to the greatest; {facts['processor']}"
        (docs / "benchmarks.svg").write_text(report.svg(figures, caption))
    missed = [f.name for f in figures if f.ok is False]
    if missed:
        print(f"\nlimit missed: {', '.join(missed)}")
    return 1 if any(f.missing for f in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
