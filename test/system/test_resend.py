"""`sluice replay` and `sluice deadletters`: what files, journals and dead letters hold goes to a sink again, as it is."""

import gzip
import json
import re
import select
import socket
import subprocess
import time

import pytest
import yaml
from conftest import merge
from test_crash import SMALL_JOURNAL

LISTENERS = {"listeners": {"tcp": {"reply": "count", "device": ["/device"]},
                           "mqtt": {"payload": "json", "on_invalid": "dead_letter"}}}


def send(gw, count, start=0):
    with socket.create_connection(gw.address("tcp"), timeout=10) as s:
        for n in range(start, start + count):
            s.sendall(json.dumps({"device": f"d\\{n % 7}" if n % 5 == 0 else f"d{n % 7}", "n": n}).encode() + b"\n")
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass


@pytest.fixture
def source(sluice):
    """A gateway that has written 300 records to its file, and its configuration with a second file as sink `again`."""
    gw = sluice(merge(LISTENERS, SMALL_JOURNAL))
    send(gw, 300)
    gw.wait_records(300)
    return gw


def target(gw, path, name="again", **more):
    """A configuration with one sink more, a file at path."""
    config = merge(gw.config, {"sinks": {name: {"type": "file", "path": str(path), **more}}})
    there = gw.dir / f"{name}.yaml"
    there.write_text(yaml.safe_dump(config))
    return there


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def replay(gw, config, *args, code=0):
    done = gw.command("replay", "--config", config, *args, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_a_file_is_sent_again_byte_for_byte(source, tmp_path):
    assert source.stop() == 0
    out = tmp_path / "out.ndjson"
    done = replay(source, target(source, out), source.file, "--to", "again")
    assert "300 records read, 300 in again, 0 refused by it" in done.stdout
    assert lines(out) == lines(source.file)  # ids, times and devices with escapes, too


def test_packed_files_and_standard_input_are_read(source, tmp_path):
    assert source.stop() == 0
    out, packed = tmp_path / "out.ndjson", tmp_path / "old.ndjson.gz"
    config = target(source, out)
    packed.write_bytes(gzip.compress(source.file.read_bytes()))
    replay(source, config, packed, "--to", "again")
    with open(source.file) as file:
        done = subprocess.run([source.program, "replay", "-", "--to", "again", "--config", config], stdin=file, timeout=60,
                              capture_output=True, text=True, cwd=source.dir)
    assert done.returncode == 0, done.stderr
    assert lines(out) == 2 * lines(source.file)
    packed.write_bytes(packed.read_bytes()[:-200])
    cut = replay(source, config, packed, "--to", "again", code=2)
    assert "behind line" in cut.stderr


def test_the_journal_of_a_node_that_is_gone_is_sent(source, sluice, free_port, tmp_path):
    away = sluice(merge(LISTENERS, merge(SMALL_JOURNAL, {"sinks": {
        "away": {"type": "elasticsearch", "nodes": [f"http://127.0.0.1:{free_port()}"]}}})))
    send(away, 200)
    away.wait_records(200)
    away.kill()
    out = tmp_path / "out.ndjson"
    done = replay(source, target(source, out), away.data, "--to", "again")  # source itself goes on running
    assert "200 records read, 200 in again" in done.stdout
    assert [json.loads(line)["payload"]["n"] for line in lines(out)] == list(range(200))
    assert lines(out) == lines(away.file)


def test_only_the_times_that_are_asked_for(source, tmp_path):
    send(source, 50, start=300)  # later than the others, since those are answered
    source.wait_records(350)
    assert source.stop() == 0
    all_lines = lines(source.file)
    middle = json.loads(all_lines[300])["@timestamp"]
    config = target(source, tmp_path / "out.ndjson")
    counted = replay(source, config, source.file, "--since", middle[:-1], "--dry-run")
    assert "300 of another time" in counted.stdout and "nothing sent" in counted.stdout
    assert not (tmp_path / "out.ndjson").exists()
    replay(source, config, source.file, "--until", middle[:-1], "--to", "again")
    assert lines(tmp_path / "out.ndjson") == all_lines[:300]
    wrong = replay(source, config, source.file, "--since", "yesterday", "--to", "again", code=2)
    assert "yesterday is no time" in wrong.stderr


def test_lines_that_are_no_records_are_told_and_the_others_sent(source, tmp_path):
    assert source.stop() == 0
    mixed, out = tmp_path / "mixed.ndjson", tmp_path / "out.ndjson"
    good = lines(source.file)[:3]
    mixed.write_text("\n".join([good[0], '{"n":', good[1], '{"device":{"id":"x"},"payload":{}}', "", good[2]]))
    done = replay(source, target(source, out), mixed, "--to", "again", code=1)
    assert f"{mixed}: line 2: " in done.stderr and f"{mixed}: line 4: it is no record of Sluice" in done.stderr
    assert "5 records read, 2 no records, 3 in again" in done.stdout and lines(out) == good


def test_a_rate_is_kept_and_an_early_end_told(source, tmp_path):
    assert source.stop() == 0
    config, out = target(source, tmp_path / "out.ndjson"), tmp_path / "out.ndjson"
    began = time.monotonic()
    replay(source, config, source.file, "--to", "again", "--rate", 200)
    assert time.monotonic() - began > 1.3  # 300 records at 200 a second
    slow = subprocess.Popen([source.program, "replay", source.file, "--to", "again", "--rate", "20", "--config", config],
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=source.dir)
    try:
        assert re.fullmatch(r"replay: \d+ of \d+ MB read, \d+ records, \d+ in again, 0 refused by it, \d+ a second\n", slow.stdout.readline())
        slow.terminate()
        rest = slow.communicate(timeout=30)[0]
    finally:
        slow.kill()
    assert slow.returncode == 1 and "ended early" in rest and 300 < len(lines(out)) < 600


def test_a_dry_run_tells_how_far_it_is(source):
    record = source.file.read_bytes().partition(b"\n")[0] + b"\n"
    part = record * (1000000 // len(record))
    dry = subprocess.Popen([source.program, "replay", "-", "--dry-run", "--config", source.config_path], cwd=source.dir,
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 30
        while not select.select([dry.stdout], [], [], 0.02)[0]:  # of a pipe nobody knows the end
            dry.stdin.write(part)
            assert time.monotonic() < until
        assert re.fullmatch(rb"replay: [1-9]\d* MB read\n", dry.stdout.readline())
        told = dry.communicate(timeout=30)[0]
    finally:
        dry.kill()
    assert dry.returncode == 0 and b"nothing sent" in told


def test_what_cannot_be_is_refused(source, tmp_path):
    config = target(source, tmp_path / "out.ndjson")
    assert "no sink named" in replay(source, config, source.file, "--to", "nobody", code=2).stderr
    assert "--to" in replay(source, config, source.file, code=2).stderr
    assert "nothing.ndjson" in replay(source, config, tmp_path / "nothing.ndjson", "--to", "again", code=2).stderr
    (tmp_path / "empty").mkdir()
    assert "journal" in replay(source, config, tmp_path / "empty", "--to", "again", code=2).stderr
    assert "--rate" in replay(source, config, source.file, "--to", "again", "--rate", "fast", code=2).stderr


# ---- dead letters ----------------------------------------------------------------------------------------------------


def letter(record, reason="mapper_parsing_exception: no number", time="2026-01-02T03:04:05.000006Z"):
    return f'{{"@timestamp":"{time}","sink":"again","sequence":1,"reason":"{reason}","record":{record}}}'


@pytest.fixture
def dead(source, tmp_path):
    """A stopped gateway with 20 dead letters of the sink `again` and half a line; .config, .path, .out."""
    assert source.stop() == 0
    source.out = tmp_path / "out.ndjson"
    source.again = target(source, source.out)
    source.path = source.data / "dead" / "again.ndjson"
    source.path.parent.mkdir(exist_ok=True)
    records = lines(source.file)[:20]
    source.path.write_text("".join(letter(r, reason=f"{'short' if i < 5 else 'mapping'}: field") + "\n"
                                   for i, r in enumerate(records)) + '{"@timestamp":"2026')
    return source


def deadletters(gw, *args, code=0):
    done = gw.command("deadletters", *args, "--config", gw.again, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_letters_are_listed_with_their_reasons(dead):
    told = deadletters(dead, "list")
    assert "again: 20 dead letters, 2026-01-02T03:04:05Z to" in told
    assert " 5  short: field" in told and "15  mapping: field" in told and " 1  lines are no dead letters" in told
    entry = json.loads(deadletters(dead, "list", "--json", "--reason", "short"))[0]
    assert entry["letters"] == 5 and entry["damaged_lines"] == 1
    assert len(deadletters(dead, "show", "--reason", "mapping").splitlines()) == 15


def test_what_is_sent_again_leaves_the_file_and_the_rest_stays(dead):
    told = deadletters(dead, "replay", "--reason", "short")
    assert "5 went to again, 0 it refused again, 16 stay" in told
    assert lines(dead.out) == lines(dead.file)[:5]
    assert len(lines(dead.path)) == 16
    assert "15 went to again" in deadletters(dead, "replay", "--sink", "again")
    assert lines(dead.out) == lines(dead.file)[:20]
    assert lines(dead.path) == ['{"@timestamp":"2026']  # half a line is nobody's, and is not thrown away
    assert sorted(p.name for p in dead.path.parent.iterdir()) == ["again.ndjson", "intake.ndjson"]


def test_a_kill_in_the_middle_leaves_every_letter(dead):
    before = lines(dead.path)
    slow = subprocess.Popen([dead.program, "deadletters", "replay", "--rate", "5", "--config", dead.again], cwd=dead.dir,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert re.match(r"deadletters: \d+ of \d+ MB read, \d+ records, ", slow.stdout.readline())
    slow.kill()
    slow.communicate()
    assert lines(dead.path) == before
    assert "20 went to again" in deadletters(dead, "replay")


def test_purging_needs_a_word_and_takes_what_is_meant(dead):
    assert "5 of again would go, 16 would stay" in deadletters(dead, "purge", "--reason", "short", code=2)
    assert len(lines(dead.path)) == 21
    assert "5 of again are gone" in deadletters(dead, "purge", "--reason", "short", "--yes")
    assert "0 of again are gone, 16 stay" in deadletters(dead, "purge", "--older-than", "100000d", "--yes")
    assert "16 of again are gone, 0 stay" in deadletters(dead, "purge", "--yes")
    assert not dead.path.exists() and deadletters(dead, "list") == "no dead letters\n"


def test_a_line_that_is_too_long_to_be_copied_is_not_thrown_away_with_others(dead):
    dead.path.write_text("x" * (5 << 20) + "\n" + dead.path.read_text())
    size = dead.path.stat().st_size
    deadletters(dead, "purge", "--reason", "short", "--yes", code=2)
    deadletters(dead, "replay", "--reason", "short", code=2)
    assert dead.path.stat().st_size == size and lines(dead.out) == []
    assert "are gone, 0 stay" in deadletters(dead, "purge", "--yes")


def test_messages_refused_at_the_door_are_shown_but_go_to_no_sink(sluice):
    from test_mqtt import Raw, puback, publish

    gw = sluice(LISTENERS)
    gw.again = gw.config_path
    Raw(gw, "bad").send(publish("devices/bad/t", '{"n":', qos=1)).expect(puback(1)).close()
    path = gw.data / "dead" / "intake.ndjson"
    gw.wait_metric("sluice_sink_records_total", 1, sink="intake")
    assert gw.stop() == 0 and len(lines(path)) == 1
    assert json.loads(deadletters(gw, "list", "--json"))[0]["reasons"][0]["letters"] == 1
    assert json.loads(deadletters(gw, "show"))["payload"]["text"] == '{"n":'
    done = gw.command("deadletters", "replay", "--config", gw.config_path)
    assert done.returncode == 2 and "no valid messages" in done.stderr and len(lines(path)) == 1
