"""Curves as SVG: one picture, one x axis, one panel per quantity."""

import math
from html import escape

WIDTH, PANEL, TOP, LEFT, GAP = 760, 190, 54, 96, 56
RIGHT = 24
INK, PALE, GREY = "#222222", "#d9d9d9", "#666666"
COLOURS = ["#2a7f62", "#b3402e", "#3b5b92", "#8a6d1d"]


def short(value):
    """1234567 as 1.2M; at most three digits."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


class Axis:
    """Values to coordinates, and where ticks stand."""

    def __init__(self, values, low, high, log):
        self.log = log and min(values) > 0
        least, most = (min(values), max(values)) if self.log else (0, max([*values, 0]) * 1.08 or 1)
        if self.log:
            least, most = 10 ** math.floor(math.log10(least)), 10 ** math.ceil(math.log10(most))
            most = most if most > least else least * 10
        self.least, self.most, self.low, self.high = least, most, low, high

    def at(self, value):
        if self.log:
            share = math.log10(value / self.least) / math.log10(self.most / self.least)
        else:
            share = (value - self.least) / (self.most - self.least)
        return self.low + share * (self.high - self.low)

    def ticks(self):
        if self.log:
            first, last = round(math.log10(self.least)), round(math.log10(self.most))
            return [10.0 ** power for power in range(first, last + 1)]
        step = 10 ** math.floor(math.log10(self.most / 2))
        step *= next(times for times in (1, 2, 5, 10) if self.most / (step * times) <= 5)
        return [i * step for i in range(int(self.most / step) + 1)]


def _panel(out, top, label, lines, x_axis, log_y):
    points = [y for _, xy in lines for _, y in xy]
    bottom = top + PANEL
    y_axis = Axis(points, bottom, top, log_y)
    for tick in y_axis.ticks():
        y = y_axis.at(tick)
        out.append(f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="{PALE}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="{GREY}">{short(tick)}</text>')
    for tick in x_axis.ticks():
        x = x_axis.at(tick)
        out.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{PALE}"/>')
        out.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle" fill="{GREY}">{short(tick)}</text>')
    out.append(f'<text x="{LEFT}" y="{top - 8}" fill="{INK}">{escape(label)}</text>')
    for i, (name, xy) in enumerate(lines):
        colour = COLOURS[i % len(COLOURS)]
        path = " ".join(f"{x_axis.at(x):.1f},{y_axis.at(y):.1f}" for x, y in xy)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x_axis.at(x):.1f}" cy="{y_axis.at(y):.1f}" r="3" fill="{colour}"/>' for x, y in xy]
        if len(lines) > 1:
            out.append(f'<text x="{WIDTH - RIGHT}" y="{top - 8 - 15 * (len(lines) - 1 - i)}" text-anchor="end" '
                       f'fill="{colour}">{escape(name)}</text>')


def chart(title, caption, x_label, panels, log_x=True):
    """The picture as text. panels: list of (label, [(name, [(x, y), ...]), ...], whether y is logarithmic)."""
    panels = [(label, [(name, xy) for name, xy in lines if xy], log) for label, lines, log in panels]
    panels = [panel for panel in panels if panel[1]]
    xs = [x for _, lines, _ in panels for _, xy in lines for x, _ in xy]
    if not xs:
        return None
    height = TOP + len(panels) * (PANEL + GAP) + 22
    x_axis = Axis(xs, LEFT, WIDTH - RIGHT, log_x)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
           f'height="{height}" font-family="DejaVu Sans, Helvetica, Arial, sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
           f'<text x="16" y="24" font-size="15" font-weight="bold" fill="{INK}">{escape(title)}</text>',
           f'<text x="16" y="42" fill="{GREY}">{escape(caption)}</text>']
    for i, (label, lines, log_y) in enumerate(panels):
        _panel(out, TOP + 24 + i * (PANEL + GAP), label, lines, x_axis, log_y)
    out.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 8}" text-anchor="middle" fill="{INK}">'
               f'{escape(x_label)}</text>')
    out.append("</svg>")
    return "\n".join(out) + "\n"
