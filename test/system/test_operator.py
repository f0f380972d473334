"""Operator's mistakes that the program can notice: cursors emptied or deleted, the wrong journal type, mistyped directories, commands that
would do the opposite of what was meant."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
import yaml

from harness import merge, send_lines, tcp_config, wait_until

AWAY = {"type": "elasticsearch", "nodes": "http://127.0.0.1:9"}


def records(tag, count):
    return [{"device": "d", "tag": tag, "n": n} for n in range(count)]


def delivered(gw, tag):
    path = gw.data / "out.ndjson"
    return sum(f'"tag": "{tag}"' in line for line in path.read_text().splitlines()) if path.exists() else 0


def file_sink(**more):
    return {"sinks": {"s": {"type": "file", "path": "out.ndjson", "sync_interval": "50ms", **more}}}


def set_sink(gw, **sink):
    gw.config["sinks"]["s"] = sink
    gw.configure(gw.config)


@pytest.fixture
def behind(sluice):
    """A stopped gateway whose journal has 100 records that its sink `s` has not got, after 20 that it has."""
    gw = sluice(merge(tcp_config({}), file_sink(**{"from": "now"})), defaults=False)
    send_lines(gw, records("A", 20))
    gw.wait_metric("sluice_sink_records_total", 20, sink="s")
    gw.stop()
    good = gw.config["sinks"]["s"]
    set_sink(gw, **AWAY, **{"from": "now"})
    gw.start()
    send_lines(gw, records("B", 100))
    gw.kill()
    set_sink(gw, **good)
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


# ---- the type of the journal -----------------------------------------------------------------------------------------


def test_memory_with_records_on_disk_warns_and_the_commands_look_at_the_disk(behind):
    gw = behind
    gw.config["journal"] = {"type": "memory"}
    gw.config["listeners"]["tcp"]["ack"] = "accepted"
    gw.configure(gw.config)
    gw.start()
    warning = [e for e in gw.log_events() if "wait on disk" in e.get("message", "")]
    assert [(e["sink.name"], e["sluice.sink.lag_records"]) for e in warning] == [("s", 100)]
    gw.stop()
    assert "100 records behind" in gw.command("cursor", "list", "--config", gw.config_path).stdout
    drained = gw.command("drain", "--config", gw.config_path)
    assert drained.returncode == 0 and "drain: 100 records to deliver" in drained.stdout, drained
    assert delivered(gw, "B") == 100
    assert " 0 records behind" in gw.command("cursor", "list", "--config", gw.config_path).stdout


# ---- commands --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("cursor", "list"), ("cursor", "drop", "s", "--yes"), ("drain",)])
def test_a_mistyped_directory_is_refused_and_not_made(behind, command):
    done = behind.command(*command, "--config", behind.config_path, "--data", behind.dir / "dta")
    assert done.returncode == 2 and "there is no journal" in done.stderr, done
    assert not (behind.dir / "dta").exists()


def test_cursor_list_works_beside_a_gateway_and_drop_does_not(behind):
    gw = behind
    set_sink(gw, **AWAY)
    gw.start()
    for data in (gw.data, gw.data / "journal", f"{gw.data}/journal/"):
        listed = gw.command("cursor", "list", "--config", gw.config_path, "--data", data)
        assert listed.returncode == 0 and re.search(r"^s +at 20, 100 records behind$", listed.stdout, re.M), listed
    refused = gw.command("cursor", "drop", "s", "--yes", "--config", gw.config_path)
    assert refused.returncode == 1 and "in use by another process" in refused.stderr, refused


def test_drop_of_a_sink_that_stays_says_how_many_and_goes_on_with_the_next(behind):
    gw = behind
    set_sink(gw, **{**gw.config["sinks"]["s"], "from": "oldest"})
    asked = gw.command("cursor", "drop", "s", "--config", gw.config_path)
    assert asked.returncode == 2 and "100 records" in asked.stdout and "--yes" in asked.stdout, asked
    assert "100 records behind" in gw.command("cursor", "list", "--config", gw.config_path).stdout, "nothing was done"
    done = gw.command("cursor", "drop", "s", "--yes", "--config", gw.config_path)
    assert done.returncode == 0 and "gave up 100 records" in done.stdout, done
    gw.start()
    send_lines(gw, records("C", 5))
    wait_until(lambda: delivered(gw, "C") == 5, what="what comes later is delivered")
    assert delivered(gw, "B") == 0, "given up"
    assert delivered(gw, "A") == 20, "not sent again"


def test_a_dropped_sink_that_comes_back_is_new(behind):
    gw = behind
    good = gw.config["sinks"].pop("s")
    gw.config["sinks"]["other"] = {"type": "file", "path": "other.ndjson", "from": "now"}
    gw.configure(gw.config)
    assert gw.command("cursor", "drop", "s", "--yes", "--config", gw.config_path).returncode == 0
    gw.config["sinks"] = {"s": {**good, "from": "now"}}
    gw.configure(gw.config)
    gw.start()
    send_lines(gw, records("C", 5))
    wait_until(lambda: delivered(gw, "C") == 5, what="what comes later is delivered")
    assert delivered(gw, "B") == 0 and "is missing" not in gw.log()


@pytest.mark.parametrize("command", ["list", "show", "replay", "purge"])
def test_deadletters_of_a_sink_that_does_not_exist_is_an_error(behind, command):
    done = behind.command("deadletters", command, "--sink", "nosuch", "--config", behind.config_path)
    assert done.returncode == 2 and "nosuch" in done.stderr, done
    known = behind.command("deadletters", "list", "--sink", "s", "--config", behind.config_path)
    assert known.returncode == 0, known


@pytest.mark.parametrize("arguments", [("--from", "10", "--to", "5"), ("--from", "5000"), ("--from", "500", "--to", "600")])
def test_a_dump_of_an_empty_range_is_an_error(behind, arguments):
    done = behind.command("journal", "dump", "--data", behind.data, *arguments)
    assert done.returncode == 2 and done.stdout == "" and "nothing" in done.stderr, done
    some = behind.command("journal", "dump", "--data", behind.data, "--from", "100", "--to", "5000")
    assert some.returncode == 0 and len(some.stdout.splitlines()) == 21, some


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_replay_of_a_missing_file_is_an_error_and_sends_nothing(behind, more):
    done = behind.command("replay", behind.dir / "missing", "--to", "s", "--config", behind.config_path, *more)
    assert done.returncode == 2 and "missing" in done.stderr, done
    (behind.dir / "empty").mkdir()
    done = behind.command("replay", behind.dir / "empty", "--to", "s", "--config", behind.config_path, *more)
    assert done.returncode == 2 and "there is no journal" in done.stderr, done


# ---- where files are written -----------------------------------------------------------------------------------------


def check(gw, **sinks):
    config = dict(gw.config, sinks=sinks)
    path = gw.dir / "check.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return gw.command("--check", path)


def two(first, second):
    return {"a": {"type": "file", **first}, "b": {"type": "file", **second}}


@pytest.mark.parametrize(("sinks", "wanted"), [
    (two({}, {}), ["path: ", "telemetry.ndjson", 'sink "a"']),
    (two({"path": "x.ndjson"}, {"path": "{data}/x.ndjson"}), ["path: ", 'sink "a"']),
    (two({"path": "{data}/../real/x"}, {"path": "{data}/../link/x"}), ["path: ", 'sink "a"']),
    (two({"path": "x", "dead_letters": "{data}/d"}, {"path": "y", "dead_letters": "{data}/d"}), ["dead_letters: ", 'sink "a"']),
    (two({"path": "x", "dead_letters": "{data}/y"}, {"path": "y"}), ["path: ", "dead_letters of", 'sink "a"']),
    ({"a": {"type": "file", "path": "x", "dead_letters": "{data}/x"}}, ["dead_letters: ", 'sink "a"']),
    ({"a": {"type": "file", "path": "journal/x"}}, ["path: ", "journal's directory"]),
    ({"a": {"type": "file", "path": "dead/intake.ndjson"}}, ["path: ", "invalid messages"]),
])
def test_check_refuses_two_sinks_on_one_file(sluice, sinks, wanted):
    gw = sluice(tcp_config({"file": {"type": "file"}}), defaults=False, start=False)
    (gw.dir / "real").mkdir()
    (gw.dir / "link").symlink_to(gw.dir / "real")
    gw.data.mkdir()
    for sink in sinks.values():
        for key in ("path", "dead_letters"):
            if key in sink:
                sink[key] = sink[key].replace("{data}", str(gw.data))
    done = check(gw, **sinks)
    assert done.returncode == 2 and all(word in done.stderr for word in wanted), done
    good = check(gw, **two({"path": "x", "dead_letters": str(gw.data / "d")}, {"path": "y"}))
    assert good.returncode == 0, good
    assert check(gw, **two({"path": "/dev/null"}, {"path": "/dev/null"})).returncode == 0


def test_the_start_refuses_two_sinks_on_one_file(sluice):
    gw = sluice(tcp_config(two({"path": "x"}, {"path": "x"})), defaults=False, start=False)
    gw.start(wait=None)
    assert gw.wait_exit() == 2
    assert 'give each a file of its own' in gw.log()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user")
def test_check_and_start_name_the_directory_and_the_user_who_may_not_write(sluice):
    gw = sluice(tcp_config({"file": {"type": "file"}}), defaults=False, start=False)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        shutil.copy(gw.program, place / "sluice")
        (place / "closed").mkdir(mode=0o755)
        (place / "open").mkdir()
        (place / "open").chmod(0o777)
        gw.config.update(data=str(place / "open"), sinks={"file": {"type": "file", "path": str(place / "closed" / "sub" / "x")}})
        gw.config["listeners"]["tcp"]["listen"] = gw.config["admin"]["listen"] = "127.0.0.1:0"
        (place / "c.yaml").write_text(yaml.safe_dump(gw.config, sort_keys=False))

        def run(*arguments, **kwargs):
            return subprocess.Popen([place / "sluice", *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                    cwd=place, user="nobody", **kwargs)
        done = run("--check", "c.yaml")
        text = done.communicate(timeout=20)[1]
        assert done.returncode == 0 and str(place / "closed") in text and "nobody (uid " in text, text
        started = run("--config", "c.yaml")
        lines = [started.stderr.readline() for _ in range(3)]
        started.terminate()
        lines.append(started.communicate(timeout=20)[1])
        text = "".join(lines)
        assert started.returncode == 0 and str(place / "closed") in text and "nobody (uid " in text, text
        assert "is in trouble; records wait in the journal" in text, "it is a state of the sink"


def test_the_start_warns_where_nothing_is_kept_for_long(sluice):
    gw = sluice(tcp_config({"file": {"type": "file"}}), defaults=False, start=False)
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        gw.config["data"] = f"{name}/not/yet"
        gw.write_config()
        done = gw.command("--check", gw.config_path)
    assert done.returncode == 0 and "mount a volume" in done.stderr and "tmpfs" in done.stderr, done
