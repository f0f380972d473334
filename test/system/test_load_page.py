"""The page of sluice-load --html in a real browser: that all is drawn that was measured, that it needs nothing from elsewhere,
and that it can be read in a narrow window, too."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from browser import Browser

LOAD = Path(os.environ.get("SLUICE_BIN", Path(__file__).parents[2] / "build/sluice")).with_name("sluice-load")
CONFIG = {"listeners": {"tcp": {"reply": "count", "device": ["/device"]}}}

# How many points each line of a drawing has, by its name in the legend.
POINTS = """Object.fromEntries([...document.querySelectorAll('#WHERE svg')].flatMap(svg => {
  const names = [...svg.previousElementSibling.children].map(e => e.textContent.trim());
  return [...svg.querySelectorAll('path.line')].map((p, i) => [names[i], (p.getAttribute('d').match(/[ML]/g) || []).length]);
}))"""
# What is wider than the window, or leaves its drawing. The window's own innerWidth is no measure: on a telephone it grows with
# what is too wide, until all of it is inside.
TOO_WIDE = """[...document.body.querySelectorAll('*')].filter(e => {
  const r = e.getBoundingClientRect();
  const scrolls = e.closest('.wide') && e !== e.closest('.wide');
  return r.width > 0 && !scrolls && (r.right > WIDTH + 1 || r.left < -1);
}).map(e => e.tagName + ' ' + (e.id || e.textContent.slice(0, 30)))"""
# The smallest height of a letter in the drawings, as seen.
SMALLEST = """Math.min(...[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height))"""
# Labels of a drawing that lie over one another.
OVERLAPS = """[...document.querySelectorAll('svg')].flatMap(svg => {
  const all = [...svg.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
  return all.flatMap(([a, r], i) => all.slice(i + 1).filter(([b, s]) =>
    r.left < s.right - 1 && s.left < r.right - 1 && r.top < s.bottom - 3 && s.top < r.bottom - 3).map(([b]) => a + ' | ' + b));
})"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


def run(gateway, directory, *options, listeners=("tcp",)):
    """The page and the results of a run; the tool says 1 when something went wrong on purpose."""
    targets = ["{}://{}:{}".format(name, *gateway.address(name)) for name in listeners]
    page, told = directory / "run.html", directory / "run.json"
    subprocess.run([LOAD, *targets, *map(str, options), "--quiet", "--html", page, "--json", told], check=True, timeout=60)
    results = json.loads(told.read_text())
    return page, results if isinstance(results, list) else [results]


def too_wide(page, width):
    return page.ask(TOO_WIDE.replace("WIDTH", str(width)))


def look(browser, path, width):
    page = browser.open(path, width)
    name = path.with_name(f"{width}.png")
    name.write_bytes(page.picture())
    assert name.read_bytes().startswith(b"\x89PNG") and name.stat().st_size > 10000
    assert page.errors == []
    assert page.requests == [path.as_uri()], "nothing is loaded from elsewhere"
    assert page.ask("document.documentElement.scrollWidth") <= width, too_wide(page, width)
    assert too_wide(page, width) == []
    assert page.ask(OVERLAPS) == []
    assert page.ask(SMALLEST) >= 9, "letters in the drawings can be read"
    return page


@pytest.mark.parametrize("width", [400, 1300])
def test_the_page_draws_every_second_and_can_be_read(sluice, browser, tmp_path, width):
    gateway = sluice(CONFIG)
    path, (result,) = run(gateway, tmp_path, "-c", 2, "-r", 500, "-n", 1500, "--pid", gateway.pid)
    seconds = result["seconds"]
    assert len(seconds) >= 3 and result["acknowledged"] == 1500
    page = look(browser, path, width)
    ends = [0] + [s["at_us"] for s in seconds]
    told = sum(end - start >= 100000 for start, end in zip(ends, ends[1:]))  # the last one may be too short to tell anything
    assert page.ask(POINTS.replace("WHERE", "rate")) == dict.fromkeys(["sent", "acknowledged", "intended"], told)
    assert all(rate > 250 for rate in page.ask("perSecond(results[0], 'intended').map(p => p[1])")), "nor a drop to nothing"
    assert page.ask(POINTS.replace("WHERE", "latency")) == {
        name: sum(s[f"{name}_us"] > 0 for s in seconds) for name in ("p50", "p99", "max")}
    assert page.ask(POINTS.replace("WHERE", "distribution"))["latency"] == page.ask("results[0].percentiles.length") > 10
    assert page.ask(POINTS.replace("WHERE", "server")) == {
        "CPU": sum(s["server_cpu"] is not None for s in seconds), "resident memory": len(seconds)}
    assert "1,500" in page.ask("document.getElementById('facts').innerText")
    assert page.ask("document.getElementById('command').innerText").startswith("sluice-load run tcp://")
    assert "none" == page.ask("document.getElementById('errors').innerText.trim()")


@pytest.mark.parametrize("width", [400, 1300])
def test_what_is_too_wide_is_seen(browser, tmp_path, width):
    path = tmp_path / "wide.html"
    path.write_text('<!DOCTYPE html><meta name="viewport" content="width=device-width, initial-scale=1">'
                    f'<p>as wide as it is</p><p id="wide" style="width: {width + 100}px">too wide</p>')
    assert too_wide(browser.open(path, width), width) == ["P wide"]


def test_several_targets_are_drawn_over_one_another_and_the_server_is_told_once(sluice, browser, tmp_path):
    gateway = sluice(CONFIG)
    path, results = run(gateway, tmp_path, "-n", 3000, "--pid", gateway.pid, "--warmup", "200ms", listeners=("tcp", "mqtt", "http"))
    for width in (400, 1300):
        page = look(browser, path, width)
        drawn = page.ask(POINTS.replace("WHERE", "rate"))
        assert set(drawn) == {f"{p} {what}" for p in ("tcp", "mqtt", "http") for what in ("sent", "acknowledged")}
        assert page.ask("document.querySelectorAll('#server svg').length") == 2, "one of CPU, one of memory"
        assert page.ask("document.getElementById('facts').innerText").count("all targets") == 1
