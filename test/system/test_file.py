"""The file sink of the real program: streams, files that somebody moves or truncates, targets that cannot be used."""

import json
import os
import signal
import threading
import time

import pytest

from harness import ROOT, merge, send_lines, tcp_config, wait_until


def numbers(path):
    """How often each number is in the lines of a file."""
    seen = {}
    for line in path.read_bytes().splitlines():
        n = json.loads(line)["payload"]["n"]
        seen[n] = seen.get(n, 0) + 1
    return seen


def records(first, count):
    return [{"device": "d", "n": n} for n in range(first, first + count)]


def sink(gw, name="file"):
    return gw.admin_get("/readyz?verbose")[1].split(f"sink {name}", 1)[1].splitlines()[0]


@pytest.fixture
def fifo(sluice, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    config = tcp_config({"file": {"type": "file", "path": str(path), "sync_interval": "50ms"}})
    return path, sluice(merge(config, {"stop": {"drain": "2s"}}), defaults=False)


def test_a_fifo_gets_each_record_once(fifo, tmp_path):
    path, gw = fifo
    send_lines(gw, records(0, 50))
    wait_until(lambda: "nobody reads" in sink(gw), what="the missing reader is reported")
    got = []
    reader = threading.Thread(target=lambda: got.append(open(path, "rb").read()))
    reader.start()
    gw.wait_metric("sluice_sink_records_total", 50, sink="file")
    send_lines(gw, records(50, 1000))
    gw.wait_metric("sluice_sink_records_total", 1050, sink="file")
    assert sink(gw) == "" and gw.metrics().sum("sluice_sink_records_total", sink="file") == 1050
    gw.stop()
    reader.join(timeout=20)
    (tmp_path / "got").write_bytes(got[0])
    assert numbers(tmp_path / "got") == {n: 1 for n in range(1050)}


def test_a_full_fifo_whose_reader_does_not_read_holds_up_no_stop(fifo):
    path, gw = fifo
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    send_lines(gw, records(0, 2000))
    wait_until(lambda: "does not read" in sink(gw), what="the reader that does not read is reported")
    begin = time.monotonic()
    gw.signal(signal.SIGTERM)
    assert gw.wait_exit() == 0
    assert time.monotonic() - begin < 8
    os.close(fd)


def test_a_file_that_is_truncated_before_its_sync_gets_its_records_again(sluice):
    gw = sluice(tcp_config({"file": {"type": "file", "sync_interval": "2s"}}), defaults=False)
    send_lines(gw, records(0, 100))
    wait_until(lambda: gw.file.stat().st_size > 0, what="they are written")
    os.truncate(gw.file, 0)
    send_lines(gw, records(100, 5))
    gw.wait_metric("sluice_sink_records_total", 105, sink="file")
    assert set(numbers(gw.file)) == set(range(105))
    assert gw.log().count("its file was truncated") == 1


def test_a_sink_that_cannot_be_used_at_the_start_holds_up_neither_intake_nor_other_sinks(sluice):
    gw = sluice(tcp_config({"bad": {"type": "file", "path": "/proc/x/t.ndjson"},
                            "good": {"type": "file", "path": "good.ndjson", "sync_interval": "50ms"}}), defaults=False)
    wait_until(lambda: "/proc/x" in sink(gw, "bad"), what="it is reported before a record comes")
    send_lines(gw, records(0, 5))
    gw.wait_metric("sluice_sink_records_total", 5, sink="good")
    assert gw.metrics().sum("sluice_sink_up", sink="bad") == 0
    assert gw.metrics().sum("sluice_sink_lag_records", sink="bad") == 5
    assert numbers(gw.data / "good.ndjson") == {n: 1 for n in range(5)}


def test_a_file_system_that_hangs_is_reported_and_holds_up_no_stop(sluice, tmp_path):
    library, hang = ROOT / "build" / "test" / "fault" / "hanging_sync.so", tmp_path / "hang"
    gw = sluice(merge(tcp_config({"hung": {"type": "file", "path": "hung.ndjson", "sync_interval": "50ms"},
                                  "good": {"type": "file", "path": "good.ndjson", "sync_interval": "50ms"}}), {"stop": {"drain": "1s"}}),
                defaults=False, env={"LD_PRELOAD": str(library), "HANG_FILE": "hung.ndjson", "HANG": str(hang)})
    hang.touch()
    send_lines(gw, records(0, 100))
    gw.wait_metric("sluice_sink_records_total", 100, sink="good")
    wait_until(lambda: "has not returned for" in sink(gw, "hung"), what="the call that hangs is reported")
    assert gw.status("/livez") == 200, "a restart would change nothing"
    begin = time.monotonic()
    gw.signal(signal.SIGTERM)
    assert gw.wait_exit() == 0
    assert time.monotonic() - begin < 10
    assert "its target does not answer" in gw.log()
    hang.unlink()
    gw.start()
    gw.wait_metric("sluice_sink_records_total", 100, sink="hung")
    assert set(numbers(gw.data / "hung.ndjson")) == set(range(100))


def test_moving_the_file_under_load_as_logrotate_does_loses_nothing(sluice):
    """What docs/file.md tells operators to do."""
    gw = sluice(tcp_config({"file": {"type": "file", "sync_interval": "20ms"}}), defaults=False)
    sent, moved = 0, []
    enough = threading.Event()

    def send():
        nonlocal sent
        while not enough.is_set():
            send_lines(gw, records(sent, 100))
            sent += 100
    sender = threading.Thread(target=send)
    sender.start()
    try:
        while len(moved) < 10:
            wait_until(gw.file.exists, what="a new file begins")
            moved.append(gw.file.with_name(f"{gw.file.name}.{len(moved)}"))
            gw.file.rename(moved[-1])
    finally:
        enough.set()
        sender.join(timeout=60)
    gw.wait_metric("sluice_sink_records_total", sent, sink="file")
    seen = {}
    for path in moved + [gw.file] * gw.file.exists():
        for n, times in numbers(path).items():
            seen[n] = seen.get(n, 0) + times
    assert sent > 0 and seen == {n: 1 for n in range(sent)}
