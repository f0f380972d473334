"""What was measured as a table, as JSON, as docs/benchmarks.md and as pictures.

build/bench.json      of the last run: a list of {name, value, unit, limit, runs, spread, ...}, figure by figure
build/bench-run.json  of the last full run: its command, machine, figures, the whole, the growth
build/peers.json      what `make bench-peers` found

docs/benchmarks.md is made of the latter two, whichever was measured last."""

import json
from html import escape

import plot
from figure import TARGETS, Figure

HEADS = ["name", "value", "unit", "limit", "ok?", "runs", "spread"]
RIGHT = {1, 3, 5, 6}
VERDICT = {None: "-", True: "yes", False: "NO"}


def row(f):
    return [f.name, f.text(f.value), f.unit, f.text(f.limit), VERDICT[f.ok], str(len(f.values)), f.spread]


def table(figures):
    rows = [HEADS] + [row(f) for f in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = []
    for cells in rows:
        cells = [text.rjust(w) if i in RIGHT else text.ljust(w) for i, (text, w) in enumerate(zip(cells, widths))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def write_figures(path, figures):
    path.write_text("[\n" + ",\n".join(json.dumps(f.json()) for f in figures) + "\n]\n")


def write_run(path, figures, run):
    path.write_text(json.dumps({**run, "figures": [f.json() for f in figures]}, indent=1) + "\n")


# -- the page ----------------------------------------------------------------------------------------------------------

METHOD = """
- A figure is the median of its runs; the spread is the least and the greatest. A first run does not count.
- Processor time is that of all threads of Sluice, user and system, divided by messages. It is read before the first
  connection and again when the sink has the last message. What the kernel does in threads of its own is not in it.
- Everything is acknowledged from a durable journal unless said otherwise, and that it was taken is checked against
  Sluice's own counters. The sink is `null`, unless the name says otherwise; to Kafka and Elasticsearch it is the whole
  way, until the server has everything, and the server is asked how much that is.
- The load comes from `sluice-load` with one thread, on the same machine: JSON documents of 170 to 190 bytes from 1,024
  devices, no two alike. So rates say what this machine does with both at once, not what Sluice can do alone.
- "Saturated" is as fast as acknowledgements allow, or 80 % of the rate at which the disk takes blocks of 1 MiB written
  with O_DIRECT, whichever is less; build/bench.json has the share (`disk_share`) of each figure.
- The **reference time** is what this disk takes for write and fdatasync of the run's mean block, asked as often as the
  run asked, measured right after each run (`bench_disk`); its median counts. p50 and p99 to acknowledge are divided by
  it. They count from the time a message should have been sent, so the sender's own lateness is in them.
- `slow_*`: the same with 10 ms added to every fdatasync, of Sluice and of the reference alike.
- The lane is measured by the clock, with two threads that never sleep. Rounds in which one of them had less than 95 %
  of a core are made again, whatever they came to; a busy machine has few others, or none.
- Recovery is after SIGKILL, with the journal dropped from the page cache.
- Allocations and locks are counted by a preloaded library, in runs of their own. A message needs none; a commit needs
  some, and these are what is left when they are divided by messages.
- In the picture a bar is the figure as a share of its limit: shorter is better.
"""


def _markdown(heads, rows, right=()):
    return ["| " + " | ".join(heads) + " |",
            "| " + " | ".join("---:" if i in right else "---" for i in range(len(heads))) + " |",
            *("| " + " | ".join(cells) + " |" for cells in rows)]


def _number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def _figures_section(figures):
    targets = [f for f in figures if f.name in TARGETS]
    lines = ["## Targets", ""]
    heads = ["name", "what", "best peer", "at most", "measured", "unit", "ok?", "runs", "spread", "messages/s",
             "resident MB"]
    rows = []
    for f in targets:
        rate, rss = f.more.get("rate"), f.more.get("rss_mb")
        rows.append([f"`{f.name}`", f.what, f.peer or "-", f.text(f.limit), f"**{f.text(f.value)}**", f.unit,
                     VERDICT[f.ok], str(len(f.values)), f.spread, _number(rate[0], 0) if rate else "-",
                     _number(max(rss), 0) if rss else "-"])
    lines += _markdown(heads, rows, {3, 4, 7, 8, 9, 10})
    lines += ["", "Best peer: processor time of comparable programs, without durability, measured earlier and "
              "elsewhere; Peers has those that were measured here."]
    others = [f for f in figures if f.name not in TARGETS]
    if others:
        lines += ["", "## Beside them", ""]
        lines += _markdown(["name", "what", "value", "unit", "limit", "ok?", "runs", "spread"],
                           [[f"`{f.name}`", f.what, *row(f)[1:]] for f in others], {2, 4, 6, 7})
    return lines


def _whole_section(rows):
    lines = ["## The whole", "", "Usual is: 8 connections (TCP: 1,000 unacknowledged each; MQTT QoS 1: 100), HTTP 64, "
             "CoAP 1,000 endpoints; `ack: durable`; null sink. Each row has one thing that is other. To Kafka and "
             "Elasticsearch the rate is that of the whole way.", ""]
    cells = []
    for r in rows:
        if "missing" in r:
            cells.append([r["protocol"], r["what"], r["missing"], "", "", "", "", ""])
            continue
        what = r["what"] + (f" ({r['busy']:.1%} answered busy)" if r["busy"] else "")
        cells.append([r["protocol"], what, _number(r["us"]), _number(r["rate"], 0), _number(r["p50_ms"]),
                      _number(r["p99_ms"]), _number(r["rss_mb"], 0), str(r["runs"])])
    return lines + _markdown(["protocol", "other than usual", "us/message", "messages/s", "p50 ms", "p99 ms",
                              "resident MB", "runs"], cells, {2, 3, 4, 5, 6, 7})


# Curve: title, x label, panels of (label, key of the points, logarithmic y).
PICTURES = {
    "connections": ("Connections", "connections", [("us of processor time per message", "us", False),
                                                   ("messages per second", "rate", False),
                                                   ("p99 to acknowledge, ms", "p99_ms", True)]),
    "rate": ("Rate, TCP lines, open loop", "messages per second", [("us of processor time per message", "us", False),
                                                                  ("p50 to acknowledge, ms", "p50_ms", True),
                                                                  ("p99 to acknowledge, ms", "p99_ms", True)]),
    "devices": ("Devices, TCP lines", "devices", [("us of processor time per message", "us", False),
                                                  ("messages per second", "rate", False),
                                                  ("resident memory, MB", "rss_mb", False)]),
    "backlog": ("Backlog", "GiB of journal", [("s from start to ready, after SIGKILL, cold cache", "recovery_s", False),
                                              ("records per second drained to a null sink", "drain_rate", False)]),
}


def pictures(growth, caption):
    """File name and SVG of each curve that has points."""
    out = {}
    for name, (title, x_label, panels) in PICTURES.items():
        curves = growth.get(name) or []
        drawn = [(label, [(c["name"], [(p["x"], p[key]) for p in c["points"] if p.get(key) is not None])
                          for c in curves], log) for label, key, log in panels]
        text = plot.chart(title, caption, x_label, drawn, log_x=name != "backlog")
        if text:
            out[f"benchmarks-{name}.svg"] = text
    return out


def _growth_section(growth, drawn):
    lines = ["## The growth", "", "Medians of 3 runs of a second. 8,000 messages are on their way (MQTT: 800) in "
             "whatever number of connections; rates are open loops on 8 connections; a backlog is what a sink that is "
             "down leaves."]
    for name, (title, _, _) in PICTURES.items():
        if f"benchmarks-{name}.svg" in drawn:
            lines += ["", f"![{title}](benchmarks-{name}.svg)"]
        elif name in growth:
            lines += ["", f"{title}: not measured."]
    return lines


def _peers_section(peers):
    lines = ["## Peers", "", f"Measured by `{peers['command']}` on {peers['machine']['date']}: the same payload on the "
             "same connections to each in turn, on the same machine, medians of the runs. Processor time is that of "
             "the server alone, until everything had arrived.", ""]
    cells = []
    for r in peers["rows"]:
        if "missing" in r:
            cells.append([r["way"], r["peer"], "-", "-", "-", "-", r["promise"], r["missing"]])
            continue
        cells.append([r["way"], r["peer"], _number(r["us"]), r["spread"], _number(r["rate"], 0),
                      _number(r["rss_mb"], 0), r["promise"], r["arrived"]])
    lines += _markdown(["way", "program", "us/message", "spread", "messages/s", "resident MB",
                        "what an answer to the device promises", "arrived"], cells, {2, 3, 4, 5})
    return [*lines, "", "Programs: " + "; ".join(peers["versions"]) + "."]


def page(run, figures, peers, drawn):
    lines = ["# Benchmarks", "", "<!-- made by `make bench` and `make bench-peers`; do not edit -->", "",
             f"Measured by `{run['command']}`. Other machines give other figures: run it there. "
             "[performance.md](performance.md) tells what they come from.", "",
             "![figures beside their limits](benchmarks.svg)", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {text} |" for name, text in run["machine"].items()]
    lines += ["", *_figures_section(figures)]
    if run.get("whole"):
        lines += ["", *_whole_section(run["whole"])]
    if run.get("growth"):
        lines += ["", *_growth_section(run["growth"], drawn)]
    lines += ["", *(_peers_section(peers) if peers else ["## Peers", "", "Not measured here yet: `make bench-peers`."])]
    return "\n".join([*lines, "", "## How", METHOD.rstrip()]) + "\n"


def write_docs(build, docs):
    """Makes docs/benchmarks.md and its pictures of what lies in build/; False where no full run does."""
    path = build / "bench-run.json"
    if not path.exists():
        return False
    run = json.loads(path.read_text())
    figures = [Figure.of_json(row) for row in run["figures"]]
    peers = json.loads((build / "peers.json").read_text()) if (build / "peers.json").exists() else None
    drawn = pictures(run.get("growth") or {}, run["machine"]["processor"])
    for name, text in drawn.items():
        (docs / name).write_text(text)
    (docs / "benchmarks.svg").write_text(bars(figures, f"median of the runs, the line from the least to the greatest; "
                                                       f"{run['machine']['processor']}"))
    (docs / "benchmarks.md").write_text(page(run, figures, peers, drawn))
    return True


# -- the picture of the targets ----------------------------------------------------------------------------------------

ROW, TOP, LEFT, SCALE, RIGHT_ROOM = 26, 58, 190, 380, 225
CUT = 1.25
GOOD, BAD = "#2a7f62", "#b3402e"


def bars(figures, caption):
    """Bars of figure / limit; the line is the limit. What goes beyond CUT is cut there."""
    figures = [f for f in figures if f.name in TARGETS and f.limit and f.value is not None]
    height, width = TOP + ROW * len(figures) + 34, int(LEFT + SCALE * CUT + RIGHT_ROOM)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
           'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="16" y="24" font-size="15" font-weight="bold" fill="{plot.INK}">Figures beside their limits</text>',
           f'<text x="16" y="42" fill="{plot.GREY}">{escape(caption)}</text>']
    bottom = TOP + ROW * len(figures)
    for percent in (0, 25, 50, 75, 125):
        x = LEFT + SCALE * percent // 100
        out.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}" stroke="{plot.PALE}"/>')
        out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" fill="{plot.GREY}">{percent} %</text>')
    for i, f in enumerate(figures):
        y, share = TOP + ROW * i, max(0, min(f.value / f.limit, CUT))
        end = LEFT + SCALE * share
        out.append(f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end" fill="{plot.INK}">{escape(f.name)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y + 5}" width="{max(SCALE * share, 1.5):.1f}" height="{ROW - 10}" '
                   f'fill="{GOOD if f.ok else BAD}"/>')
        low, high = (LEFT + SCALE * max(0, min(v / f.limit, CUT)) for v in (min(f.values), max(f.values)))
        out.append(f'<line x1="{low:.1f}" y1="{y + ROW / 2}" x2="{high:.1f}" y2="{y + ROW / 2}" stroke="{plot.INK}" '
                   'stroke-width="1.5"/>')
        label = f"{f.text(f.value)} of {f.text(f.limit)} {f.unit}"
        at = max(end, high) + 8
        if at < LEFT + SCALE + 8 and LEFT + SCALE < at + 7 * len(label):
            at = LEFT + SCALE + 8
        out.append(f'<text x="{at:.1f}" y="{y + 17}" fill="{plot.INK}">{escape(label)}</text>')
    x = LEFT + SCALE
    out.append(f'<line x1="{x}" y1="{TOP - 4}" x2="{x}" y2="{bottom}" stroke="{plot.INK}" stroke-width="2"/>')
    out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" font-weight="bold" fill="{plot.INK}">limit</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
