"""What the benchmarks make of their figures: names, verdicts, the page, the pictures. Nothing is measured here."""

import json
import sys
import xml.etree.ElementTree as xml

import pytest

from harness import ROOT

sys.path.insert(0, str(ROOT / "test" / "bench"))
import bench  # noqa: E402
import growth  # noqa: E402
import plot  # noqa: E402
import report  # noqa: E402
import whole  # noqa: E402
from figure import TARGETS, Figure, target  # noqa: E402


def figures(value=0.1):
    return [target(name).add(value).add(3 * value).add(2 * value, rate=1000.0, rss_mb=12.0) for name in TARGETS]


def run_file(build):
    points = [{"x": x, "us": 1.0, "rate": 10.0 * x, "p50_ms": 0.5, "p99_ms": 3.0, "rss_mb": 10.0} for x in (1, 10, 1000)]
    backlog = [{"x": 0, "recovery_s": 0.1, "drain_rate": None}, {"x": 10, "recovery_s": 2.0, "drain_rate": 1e6}]
    run = {"command": "make bench", "machine": {"processor": "a & b"},
           "whole": [{"protocol": "tcp", "what": "64 bytes", "us": 1.0, "rate": 2.0, "p50_ms": 3.0, "p99_ms": 4.0,
                      "rss_mb": 5.0, "runs": 3, "busy": 0.02}, {"protocol": "coap", "what": "NON", "missing": "broken"}],
           "growth": {name: [{"name": "tcp", "points": backlog if name == "backlog" else points}]
                      for name in growth.CURVES}}
    report.write_run(build / "bench-run.json", figures(), run)


def test_every_target_comes_of_one_measurement():
    names = [name for _, given in bench.MEASUREMENTS.values() for name in given]
    assert sorted(names) == sorted(TARGETS)


def test_a_selection_takes_names_of_targets_and_keeps_the_order():
    assert bench.choose("ack_p99_x,tcp_us,ack_p50_x") == (["tcp_us", "ack"], [])
    assert bench.choose("")[0] == [*bench.MEASUREMENTS, *bench.PARTS]
    assert bench.choose("tcp_us,nonsense") == (None, ["nonsense"])


def test_what_was_not_measured_is_never_within_its_limit():
    for figure in bench._missing("ack", "no disk\nat all"):
        assert figure.ok is False and figure.json()["value"] is None and "no disk" in figure.spread


@pytest.mark.parametrize("value, ok", [(0.45, True), (0.46, False)])
def test_a_figure_is_judged_by_its_median(value, ok):
    assert target("tcp_us").add(value).add(0).add(9).ok is ok


def test_figures_come_back_from_their_file(tmp_path):
    report.write_figures(tmp_path / "bench.json", figures())
    rows = json.loads((tmp_path / "bench.json").read_text())
    assert all({"name", "value", "unit", "limit", "runs", "spread"} <= set(row) for row in rows)
    assert rows[0]["value"] == 0.2 and rows[0]["spread"] == [0.1, 0.1 * 3] and rows[0]["runs"] == 3
    assert [Figure.of_json(row).json() for row in rows] == rows


def test_the_page_needs_a_full_run(tmp_path):
    assert not report.write_docs(tmp_path, tmp_path) and not (tmp_path / "benchmarks.md").exists()


def test_the_page_has_every_target_the_whole_the_growth_and_the_peers(tmp_path):
    run_file(tmp_path)
    (tmp_path / "peers.json").write_text(json.dumps({
        "command": "make bench-peers", "machine": {"date": "today"}, "versions": ["rsyslog 1"],
        "rows": [{"way": "TCP lines to a file", "peer": "rsyslog", "us": 1.0, "spread": "1 - 2", "rate": 3.0,
                  "rss_mb": 4.0, "promise": "nothing", "arrived": "all"},
                 {"way": "x", "peer": "Telegraf", "promise": "-", "missing": "not installed"}]}))
    assert report.write_docs(tmp_path, tmp_path)
    page = (tmp_path / "benchmarks.md").read_text()
    for text in [*(f"`{name}`" for name in TARGETS), "64 bytes (2.0% answered busy)", "broken", "rsyslog 1", "not installed"]:
        assert text in page
    for name in growth.CURVES:
        assert f"(benchmarks-{name}.svg)" in page
        xml.parse(tmp_path / f"benchmarks-{name}.svg")
    xml.parse(tmp_path / "benchmarks.svg")


def test_axes_have_their_values_inside_and_ticks_that_rise():
    for values, log in (([1, 10_000], True), ([0, 3.3], False), ([5], True), ([0], False)):
        axis = plot.Axis(values, 100, 0, log)
        assert all(0 <= axis.at(value) <= 100 for value in values)
        assert sorted(axis.ticks()) == axis.ticks() and len(axis.ticks()) >= 2


def test_a_curve_without_points_draws_nothing():
    assert plot.chart("t", "c", "x", [("y", [("tcp", [])], False)]) is None


def test_the_whole_varies_one_thing_at_a_time_and_names_no_combination_twice():
    cells = [(protocol, what) for protocol, what, *_ in whole.cells()]
    assert len(set(cells)) == len(cells)
    assert {protocol for protocol, _ in cells} == {"tcp", "mqtt", "http", "coap"}


def test_the_table_shows_a_missed_limit():
    assert "NO" in report.table([Figure("a", "", "us", 1).add(2)])
