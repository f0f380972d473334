"""Operator's mistakes that the program can notice: cursors emptied or deleted, the wrong journal type, mistyped directories, commands that
would do the opposite of what was meant."""

import re

import pytest

from harness import merge, send_lines, tcp_config, wait_until

AWAY = {"type": "elasticsearch", "nodes": "http://127.0.0.1:9"}


def records(tag, count):
    return [{"device": "d", "tag": tag, "n": n} for n in range(count)]


def delivered(gw, tag):
    return sum(f'"tag": "{tag}"' in line for line in gw.file.read_text().splitlines()) if gw.file.exists() else 0


def file_sink(**more):
    return {"sinks": {"s": {"type": "file", "path": "out.ndjson", "sync_interval": "50ms", **more}}}


def set_sink(gw, **sink):
    gw.config["sinks"]["s"] = sink
    gw.configure(gw.config)


@pytest.fixture
def behind(sluice):
    """A stopped gateway whose journal has 100 records that its sink `s` has not got, after 20 that it has."""
    gw = sluice(merge(tcp_config({}), file_sink(**{"from": "now"})), defaults=False)
    gw.file = gw.data / "out.ndjson"
    send_lines(gw, records("A", 20))
    gw.wait_metric("sluice_sink_records_total", 20, sink="s")
    gw.stop()
    good = gw.config["sinks"]["s"]
    set_sink(gw, **AWAY, **{"from": "now"})
    gw.start()
    send_lines(gw, records("B", 100))
    gw.kill()
    set_sink(gw, **good)
    gw.file = gw.data / "out.ndjson"
    return gw


# ---- cursors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mistake", ["emptied", "zeroed", "deleted", "all deleted"])
def test_a_cursor_that_holds_nothing_or_is_missing_starts_at_the_oldest_record(behind, mistake):
    gw = behind
    cursor = gw.data / "journal" / "cursors" / "s.cursor"
    if mistake == "emptied":
        cursor.write_bytes(b"")
    elif mistake == "zeroed":
        cursor.write_bytes(bytes(cursor.stat().st_size))
    elif mistake == "deleted":
        cursor.unlink()
    else:
        cursor.unlink()
        cursor.parent.rmdir()
    gw.start()
    wait_until(lambda: delivered(gw, "B") == 100, what="everything is delivered")
    assert delivered(gw, "A") >= 20, "what the journal still has may come twice"
    wanted = "is missing; the sink starts with the oldest" if "deleted" in mistake else "holds nothing; its sink starts with the oldest"
    assert gw.log().count(wanted) == 1


def test_a_sink_that_is_new_starts_where_from_says(behind):
    gw = behind
    gw.config["sinks"]["late"] = {"type": "file", "path": "late.ndjson", "from": "now", "sync_interval": "50ms"}
    gw.configure(gw.config)
    gw.start()
    send_lines(gw, records("C", 5))
    gw.wait_metric("sluice_sink_records_total", 5, sink="late")
    lines = (gw.data / "late.ndjson").read_text()
    assert lines.count('"tag": "C"') == 5 and '"tag": "B"' not in lines
