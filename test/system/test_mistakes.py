"""Operator's mistakes: files of a journal that somebody deletes, moves, copies or changes under a gateway that takes messages, and
what of the acknowledged ones is lost by that: nothing, or what the log says. The table is in docs/guarantees.md."""

import os
import re
import resource
import shutil
import socket
import stat
import subprocess
from pathlib import Path

import pytest
from conftest import merge, wait_until
from harness import free_ports
from test_verify import Verdict, finish, settled, start, target

SMALL = {"segment": "1MiB", "max_bytes": "64MiB", "block": "256KiB"}
AWAY = {"away": {"type": "elasticsearch", "nodes": "http://127.0.0.1:9", "backoff_max": "1s"}}


def loaded(sluice, **more):
    """A gateway whose only sink is away, so that all that it accepts lies in the journal."""
    return sluice(merge({"listeners": {"mqtt": None, "coap": None, "http": None,
                                       "tcp": {"reply": "count", "device": ["/device"], "ack_timeout": "60s"}},
                         "journal": SMALL, "sinks": {"file": None, **AWAY}}, more))


def bring_back(gateway):
    """The sink becomes one that works: what the journal has comes into its file."""
    gateway.config["sinks"] = {"away": {"type": "file", "path": str(gateway.data / "out.ndjson"), "sync_interval": "50ms"}}
    gateway.configure(gateway.config)


def load(gateway, ledger, rate=300, seconds=4, name="a"):
    return start(target(gateway, "tcp"), "-c", 4, "-r", rate, "-t", f"{seconds}s", "--name", f"{name}-{{n}}", "--run", "mistakes",
                 "--ledger", ledger)


def verdict(gateway, *ledgers):
    args = [a for ledger in ledgers[1:] for a in ("--ledger", ledger)]
    return Verdict(ledgers[0], *args, gateway.file)


def errors(gateway):
    return [e for e in gateway.log_events() if e["log.level"] in ("error", "warn")]


def explained(gateway, text):
    return [e for e in errors(gateway) if text in e.get("error.message", "")]


# ---- why the disk refuses -----------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files to another user")
def test_files_of_another_user_are_named_and_following_the_advice_loses_nothing(sluice, tmp_path):
    """As after a backup that was restored as another user. The gateway runs as root without the right to read everything."""
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    without = tmp_path / "without-rights"
    without.write_text("#!/bin/sh\nexec setpriv --bounding-set=-dac_override,-dac_read_search "
                       f"--inh-caps=-dac_override,-dac_read_search {gateway.program} \"$@\"\n")
    without.chmod(0o755)
    finish(load(gateway, ledger, seconds=1))
    gateway.kill()
    segments = sorted((gateway.data / "journal").glob("*.segment"))
    for segment in segments:
        os.chown(segment, 65534, 65534)
    plain, gateway.program = gateway.program, str(without)
    bring_back(gateway)
    gateway.write_config()
    refused = gateway.command("--config", gateway.config_path)
    assert refused.returncode != 0
    told = refused.stderr + refused.stdout
    assert "Permission denied" in told and "belongs to uid 65534" in told and "chown" in told and "for uid 0" in told, told
    assert "lost" not in told and "disk failed" not in told, told
    for segment in segments:
        os.chown(segment, 0, 0)
    gateway.restart()
    settled(gateway)
    gateway.program = plain
    assert gateway.stop() == 0
    v = verdict(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


def test_why_no_segment_can_be_made_is_told_before_the_journal_is_full_and_it_recovers(sluice, tmp_path):
    gateway, ledger = loaded(sluice, listeners={"tcp": {"lane": "256KiB", "max_payload": "16KiB"}}), tmp_path / "ledger"
    soft, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    sending = start(target(gateway, "tcp", "#size=9000"), "-c", 2, "-n", 1500, "--ledger", ledger)
    wait_until(lambda: gateway.metrics().sum("sluice_journal_records_total") > 50, 20, "it takes messages")
    used = len(os.listdir(f"/proc/{gateway.pid}/fd"))
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (1, hard))  # no new descriptor at all
    gateway.wait_log("no further segment can be made", 30)
    gateway.wait_log("is full: nothing more is taken in until a further segment can be made", 60)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (soft, hard))
    finish(sending)
    assert used > 1
    told = [e for e in errors(gateway) if "full" in e["message"]]
    assert told and all("Too many open files" in e["error.message"] for e in told), told
    assert not [e for e in errors(gateway) if "sink has caught up" in e["message"] or "sink does not have" in e["message"]]
    gateway.kill()
    bring_back(gateway)
    gateway.restart()
    settled(gateway)
    assert gateway.stop() == 0
    v = verdict(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


# ---- deleted and moved ---------------------------------------------------------------------------------------------------


def count_lost(gateway):
    return sum(e["sluice.journal.records_lost"] for e in gateway.log_events() if "only they had" in e["message"])


def delivered_after_a_kill(gateway, *ledgers):
    gateway.kill()
    bring_back(gateway)
    gateway.restart()
    settled(gateway)
    assert gateway.stop() == 0
    return verdict(gateway, *ledgers)


@pytest.mark.parametrize("tail", ["8MiB", "0"], ids=["with a tail in memory", "without"])
def test_a_journal_deleted_under_load_loses_nothing_that_the_open_segment_had(sluice, tmp_path, tail):
    gateway, ledger = loaded(sluice, journal={"segment": "16MiB", "tail_memory": tail}), tmp_path / "ledger"
    sending = load(gateway, ledger)
    gateway.wait_metric("sluice_journal_records_total", 300, 20)
    shutil.rmtree(gateway.data / "journal")
    gateway.wait_log("its files were deleted while it ran", 10)
    wait_until((gateway.data / "journal" / "cursors" / "away.cursor").exists, 10, "the cursor is made again")
    assert (gateway.data / "journal" / "sinks").read_text() == "away\n", "what is known of its sinks is written again"
    finish(sending)
    wait_until(lambda: gateway.status("/readyz") == 200, 10, "it recovers without a restart")
    assert gateway.metrics().sum("sluice_journal_rescued_records_total") >= 250
    v = delivered_after_a_kill(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output
    assert count_lost(gateway) == 0


def test_older_segments_deleted_lose_what_only_they_had_and_the_range_is_told(sluice, tmp_path):
    gateway, first, second = loaded(sluice, journal={"tail_memory": "0"}), tmp_path / "first", tmp_path / "second"
    finish(start(target(gateway, "tcp", "#size=4000"), "-n", 800, "-d", 1, "--run", "mistakes", "--name", "old-{n}", "--ledger", first))
    assert gateway.metrics().sum("sluice_journal_segments") >= 3
    shutil.rmtree(gateway.data / "journal")
    finish(load(gateway, second, seconds=2))
    gateway.wait_log("its files were deleted while it ran")
    counted = gateway.metrics().sum("sluice_journal_deleted_records_total")
    lost = count_lost(gateway)
    assert 0 < lost < 800 and counted == lost
    told = [e for e in gateway.log_events() if "only they had" in e["message"]]
    assert all(e["sluice.journal.last_lost"] - e["sluice.journal.first_lost"] + 1 == e["sluice.journal.records_lost"] for e in told)
    v = delivered_after_a_kill(gateway, first, second)
    assert v.total["missing"] == lost, v.output


def test_segments_alone_deleted_in_an_idle_gateway_are_written_again(sluice, tmp_path):
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    finish(load(gateway, ledger, seconds=1))
    for file in (gateway.data / "journal").glob("*.segment"):
        file.unlink()
    for file in (gateway.data / "journal" / "cursors").iterdir():
        file.unlink()
    gateway.wait_log("its files were deleted while it ran", 10)
    gateway.wait_log("the file of a cursor was deleted", 10)
    v = delivered_after_a_kill(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


def test_the_directory_of_the_cursors_deleted_alone_is_made_again(sluice):
    gateway = loaded(sluice)
    shutil.rmtree(gateway.data / "journal" / "cursors")
    gateway.wait_log("the file of a cursor was deleted", 10)
    assert (gateway.data / "journal" / "cursors" / "away.cursor").stat().st_size > 0


@pytest.mark.parametrize("which", ["data", "journal"])
def test_a_moved_directory_stops_acknowledging_until_it_is_back_and_loses_nothing(sluice, tmp_path, which):
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    directory = gateway.data if which == "data" else gateway.data / "journal"
    away = tmp_path / "elsewhere"
    sending = load(gateway, ledger, seconds=5)
    gateway.wait_metric("sluice_journal_records_total", 300, 20)
    directory.rename(away)
    gateway.wait_log("was moved, it is", 10)
    assert gateway.status("/readyz") == 503
    told = explained(gateway, "was moved, it is")[0]["error.message"]
    assert str(away) in told and "move it back" in told
    commits = gateway.metrics().sum("sluice_journal_records_total")
    wait_until(lambda: gateway.metrics().sum("sluice_lane_bytes") > 0, 20, "messages wait")
    assert gateway.metrics().sum("sluice_journal_records_total") == commits
    away.rename(directory)
    wait_until(lambda: gateway.status("/readyz") == 200, 20, "it goes on without a restart")
    finish(sending)
    v = delivered_after_a_kill(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output
    assert count_lost(gateway) == 0


def with_a_sink_that_works(sluice, **journal):
    return loaded(sluice, sinks={"works": {"type": "file", "path": "works.ndjson", "sync_interval": "50ms"}}, journal=journal)


def bring_back_both(gateway):
    gateway.config["sinks"]["away"] = {"type": "file", "path": str(gateway.data / "out.ndjson"), "sync_interval": "50ms"}
    gateway.configure(gateway.config)
    gateway.file = gateway.data / "out.ndjson"
    gateway.restart()
    settled(gateway)
    assert gateway.stop() == 0


def test_a_deleted_cursor_loses_nothing_that_the_other_sinks_already_have(sluice, tmp_path):
    gateway, ledger = with_a_sink_that_works(sluice), tmp_path / "ledger"
    finish(start(target(gateway, "tcp", "#size=4000"), "-n", 800, "--run", "mistakes", "--ledger", ledger))
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records", sink="works") == 0, 20, "the other sink has everything")
    assert gateway.stop() == 0
    (gateway.data / "journal" / "cursors" / "away.cursor").unlink()
    bring_back_both(gateway)
    v = verdict(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


def test_older_segments_deleted_between_two_runs_are_reported_with_their_range(sluice, tmp_path):
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    finish(start(target(gateway, "tcp", "#size=4000"), "-n", 800, "--run", "mistakes", "--ledger", ledger))
    gateway.kill()
    segments = [s for s in (gateway.data / "journal").glob("*.segment") if s.read_bytes()[:8] == b"SLUICEJ1"]
    segments.sort(key=lambda s: s.read_bytes()[16:24][::-1])
    assert len(segments) > 2
    for segment in segments[:2]:
        segment.unlink()
    bring_back(gateway)
    gateway.restart()
    settled(gateway)
    assert gateway.stop() == 0
    told = [e for e in gateway.log_events() if "begins behind what a sink has" in e["message"]]
    assert [(e["sink.name"], e["sluice.journal.first_lost"]) for e in told] == [("away", 1)]
    v = verdict(gateway, ledger)
    assert v.total["missing"] == told[0]["sluice.journal.records_lost"] == told[0]["sluice.journal.last_lost"] > 0, v.output


# ---- two processes --------------------------------------------------------------------------------------------------------


def second_gateway(sluice, gateway):
    config = merge(gateway.config, {"listeners": {"tcp": {"listen": f"127.0.0.1:{free_ports()}"}},
                                    "admin": {"listen": f"127.0.0.1:{free_ports()}"}})
    second = sluice(config, defaults=False, start=False)
    second.write_config()
    return second


def test_a_deleted_lock_file_lets_no_second_gateway_in(sluice, tmp_path):
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    sending = load(gateway, ledger)
    gateway.wait_metric("sluice_journal_records_total", 100, 20)
    (gateway.data / "journal" / "lock").unlink()
    second = second_gateway(sluice, gateway)
    refused = second.command("--config", second.config_path)
    assert refused.returncode == 1 and "in use by another process" in refused.stderr + refused.stdout
    gateway.wait_log("its lock file was deleted", 10)
    wait_until(lambda: (gateway.data / "journal" / "lock").read_text().strip(), 10, "it is made again")
    finish(sending)
    v = delivered_after_a_kill(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a mount namespace")
def test_a_host_path_mounted_into_another_container_lets_no_second_gateway_in(sluice, tmp_path):
    """Two mount namespaces, each with its own path to the directory, and the lock file deleted: the kernel's lock is one."""
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    sending = load(gateway, ledger, seconds=2)
    gateway.wait_metric("sluice_journal_records_total", 100, 20)
    (gateway.data / "journal" / "lock").unlink()
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    second = second_gateway(sluice, gateway)
    second.config["data"] = str(mounted)
    second.write_config()
    refused = subprocess.run(["unshare", "--mount", "sh", "-c", 'mount --bind "$1" "$2" && exec "$3" --config "$4"', "sh",
                              gateway.data, mounted, second.program, second.config_path],
                             capture_output=True, text=True, timeout=30)
    assert refused.returncode == 1 and "in use by another process" in refused.stderr + refused.stdout, refused
    finish(sending)
    v = delivered_after_a_kill(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


def test_another_token_in_the_lock_file_stops_acknowledging(sluice, tmp_path):
    """As where locks do not reach the other host or container."""
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    finish(load(gateway, ledger, seconds=1))
    cursor = gateway.data / "journal" / "cursors" / "away.cursor"
    before = cursor.read_bytes()
    (gateway.data / "journal" / "lock").write_text("0123456789abcdef" * 2 + "\n")
    gateway.wait_log("another process has taken", 10)
    assert gateway.status("/readyz") == 503
    with socket.create_connection(gateway.address("tcp"), timeout=2) as s:
        s.sendall(b'{"device":"late"}\n')
        with pytest.raises(TimeoutError):
            pytest.fail(f"acknowledged: {s.recv(10)}")
    assert cursor.read_bytes() == before
    v = delivered_after_a_kill(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


# ---- files of another host -------------------------------------------------------------------------------------------------


def two_hosts(sluice, tmp_path):
    """Two gateways with undelivered records each, killed: (gateway, ledger) twice."""
    out = []
    for name in ("own", "strange"):
        gateway, ledger = loaded(sluice), tmp_path / name
        finish(load(gateway, ledger, seconds=1, name=name))
        gateway.kill()
        out.append((gateway, ledger))
    return out


def test_segments_of_another_host_are_set_aside_and_its_own_are_delivered(sluice, tmp_path):
    (gateway, ledger), (stranger, _) = two_hosts(sluice, tmp_path)
    for i, file in enumerate(sorted((stranger.data / "journal").glob("*.segment")), 90):
        shutil.copy(file, gateway.data / "journal" / f"{i:08}.segment")
    checked = gateway.command("journal", "verify", "--data", gateway.data)
    assert checked.returncode == 1 and "belong to another journal" in checked.stdout
    bring_back(gateway)
    gateway.restart()
    settled(gateway)
    counted = gateway.metrics().sum("sluice_journal_foreign_records_total")
    told = [e for e in gateway.log_events() if "belongs to another journal" in e["message"]]
    assert counted == sum(e["sluice.journal.records"] for e in told) >= 200
    assert gateway.stop() == 0
    v = verdict(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output
    assert list((gateway.data / "journal" / "quarantine").glob("*.segment"))


def test_a_cursor_of_another_host_is_set_aside_and_the_sink_starts_with_the_oldest_record(sluice, tmp_path):
    (gateway, ledger), (stranger, _) = two_hosts(sluice, tmp_path)
    bring_back(stranger)
    stranger.restart()
    settled(stranger)
    assert stranger.stop() == 0
    name = "journal/cursors/away.cursor"
    shutil.copy(stranger.data / name, gateway.data / name)
    bring_back(gateway)
    gateway.restart()
    gateway.wait_log("a cursor belongs to another journal", 5)
    settled(gateway)
    assert gateway.stop() == 0
    v = verdict(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output


def test_two_journals_in_one_directory_without_an_identity_are_refused(sluice, tmp_path):
    (gateway, _), (stranger, _) = two_hosts(sluice, tmp_path)
    for i, file in enumerate(sorted((stranger.data / "journal").glob("*.segment")), 90):
        shutil.copy(file, gateway.data / "journal" / f"{i:08}.segment")
    identity = (gateway.data / "journal" / "identity").read_text()
    (gateway.data / "journal" / "identity").unlink()
    refused = gateway.command("--config", gateway.config_path)
    assert refused.returncode != 0 and "segments of two journals" in refused.stderr + refused.stdout
    (gateway.data / "journal" / "identity").write_text(identity)  # as it says
    gateway.restart()
    gateway.kill()


# ---- commands as another user ------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give files to another user")
def test_commands_that_write_refuse_another_user_and_keep_owner_and_mode(sluice, tmp_path):
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
    finish(load(gateway, ledger, seconds=1))
    gateway.kill()
    journal = gateway.data / "journal"
    for path in [gateway.data, *gateway.data.rglob("*")]:
        os.chown(path, 65534, 65534)
    used = max(journal.glob("*.segment"), key=lambda p: p.read_bytes()[:8] == b"SLUICEJ1")
    used.chmod(0o660)
    damaged = bytearray(used.read_bytes())
    damaged[100] ^= 1  # in the header: its blocks are used, and nothing is lost
    used.write_bytes(damaged)
    before = {p: p.stat().st_mtime_ns for p in journal.rglob("*")}
    for words in (("journal", "repair", "--data", gateway.data), ("--config", gateway.config_path, "drain"),
                  ("--config", gateway.config_path, "cursor", "drop", "away", "--yes")):
        refused = gateway.command(*words)
        assert refused.returncode != 0 and "belongs to uid 65534" in refused.stderr, refused
    assert before == {p: p.stat().st_mtime_ns for p in journal.rglob("*")}
    for above in gateway.data.parents:  # the other user may pass through the test's directories for this test
        if str(above).startswith(str(tmp_path.parents[1])):
            above.chmod(above.stat().st_mode | 0o011)
    done = gateway.command("journal", "repair", "--data", gateway.data, "--as-other-user")
    assert done.returncode == 0 and "written:" in done.stdout, done
    for path in journal.rglob("*"):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534), path
    new = Path(re.search(r"written: (\S+),", done.stdout).group(1))
    assert stat.S_IMODE(new.stat().st_mode) == 0o660
    bring_back(gateway)
    gateway.restart()
    settled(gateway)
    assert gateway.stop() == 0
    v = verdict(gateway, ledger)
    assert (v.code, v.total["missing"]) == (0, 0), v.output
