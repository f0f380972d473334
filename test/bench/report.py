"""The figures as a table, as JSON, as docs/benchmarks.md and as a picture."""

import json
from html import escape

HEADS = ["name", "value", "unit", "limit", "ok?", "runs", "spread"]
RIGHT = {1, 3, 5, 6}


def table(figures):
    rows = [HEADS] + [f.row() for f in figures]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    lines = []
    for row in rows:
        cells = [text.rjust(w) if i in RIGHT else text.ljust(w) for i, (text, w) in enumerate(zip(row, widths))]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(lines)


def write_json(path, command, facts, figures):
    content = {"command": command, "machine": facts, "figures": [f.json() for f in figures]}
    path.write_text(json.dumps(content, indent=1) + "\n")


METHOD = """
- A figure is the median of its runs; the spread is the least and the greatest. A first run does not count.
- Processor time is that of all threads of Sluice, user and system, divided by messages. It is read before the first
  message and again when every sink has the last one, so fdatasync, the file sink and its syncs are in it. What the
  kernel does in threads of its own (writing back the file sink's pages) is not.
- Everything is durable: a message counts when its acknowledgement is there, and that it was taken is checked against
  Sluice's own counters. The sink is a file, unless the name says otherwise.
- Messages are 1024 different JSON documents of 170 to 190 bytes from as many devices. Senders are in C, have one
  thread, and run on the same machine, so rates say what this machine does with both at once, not what Sluice can do
  alone.
- Allocations and locks are counted by a preloaded library, in runs of their own. A message needs none; a commit needs
  some (its block, the journal's lists), and these are what is left when they are divided by messages: HTTP with 64
  connections has 64 messages in a commit.
- The lane is measured by the clock, with two threads that never sleep. Rounds in which one of them had less than 95 %
  of a core are made again, whatever they came to; a busy machine has few others, or none.
- In the picture a bar is the figure as a share of its limit: shorter is better.
"""


def write_markdown(path, command, facts, figures):
    lines = ["# Benchmarks", "", "<!-- made by `make bench`; do not edit -->", "",
             f"Measured by `{command}`. Other machines give other figures: run it there.", "",
             "![figures beside their limits](benchmarks.svg)", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {text} |" for name, text in facts.items()]
    for title, chosen in (("Figures that have a limit", [f for f in figures if f.limit is not None]),
                          ("Beside them", [f for f in figures if f.limit is None])):
        if not chosen:
            continue
        lines += ["", f"## {title}", "", "| name | what | value | unit | limit | ok? | runs | spread |",
                  "| --- | --- | ---: | --- | ---: | --- | ---: | ---: |"]
        for f in chosen:
            name, *rest = f.row()
            lines.append("| " + " | ".join([name, f.what, *rest]) + " |")
    lines += ["", "## How", METHOD.rstrip()]
    path.write_text("\n".join(lines) + "\n")


# -- the picture -------------------------------------------------------------------------------------------------------

ROW, TOP, LEFT, SCALE, RIGHT_ROOM = 26, 58, 190, 380, 205
CUT = 1.25
GOOD, BAD, INK, PALE = "#2a7f62", "#b3402e", "#222222", "#d9d9d9"


def svg(figures, caption):
    """Bars of figure / limit; the line is the limit. What goes beyond CUT is cut there."""
    figures = [f for f in figures if f.limit and f.value is not None]
    height, width = TOP + ROW * len(figures) + 34, int(LEFT + SCALE * CUT + RIGHT_ROOM)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
           'font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">',
           f'<rect width="{width}" height="{height}" fill="white"/>',
           f'<text x="16" y="24" font-size="15" font-weight="bold" fill="{INK}">Figures beside their limits</text>',
           f'<text x="16" y="42" fill="#666666">{escape(caption)}</text>']
    bottom = TOP + ROW * len(figures)
    for percent in (0, 25, 50, 75, 125):
        x = LEFT + SCALE * percent // 100
        out.append(f'<line x1="{x}" y1="{TOP}" x2="{x}" y2="{bottom}" stroke="{PALE}"/>')
        out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" fill="#666666">{percent} %</text>')
    for i, f in enumerate(figures):
        y, share = TOP + ROW * i, min(f.value / f.limit, CUT)
        end = LEFT + SCALE * share
        out.append(f'<text x="{LEFT - 10}" y="{y + 17}" text-anchor="end" fill="{INK}">{escape(f.name)}</text>')
        out.append(f'<rect x="{LEFT}" y="{y + 5}" width="{max(SCALE * share, 1.5):.1f}" height="{ROW - 10}" '
                   f'fill="{GOOD if f.ok else BAD}"/>')
        low, high = (LEFT + SCALE * min(v / f.limit, CUT) for v in (min(f.values), max(f.values)))
        out.append(f'<line x1="{low:.1f}" y1="{y + ROW / 2}" x2="{high:.1f}" y2="{y + ROW / 2}" stroke="{INK}" '
                   'stroke-width="1.5"/>')
        label = f"{f.text(f.value)} of {f.text(f.limit)} {f.unit}"
        at = max(end, high) + 8
        if at < LEFT + SCALE + 8 and LEFT + SCALE < at + 7 * len(label):
            at = LEFT + SCALE + 8
        out.append(f'<text x="{at:.1f}" y="{y + 17}" fill="{INK}">{escape(label)}</text>')
    x = LEFT + SCALE
    out.append(f'<line x1="{x}" y1="{TOP - 4}" x2="{x}" y2="{bottom}" stroke="{INK}" stroke-width="2"/>')
    out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle" font-weight="bold" fill="{INK}">limit</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
