"""Operator's mistakes: files of a journal that somebody deletes, moves, copies or changes under a gateway that takes messages, and
what of the acknowledged ones is lost by that: nothing, or what the log says. The table is in docs/guarantees.md."""

import os
import resource
import stat
from pathlib import Path

import pytest
from conftest import merge, wait_until
from harness import free_ports, send_lines
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
    without = tmp_path / "without-rights"
    without.write_text("#!/bin/sh\nexec setpriv --bounding-set=-dac_override,-dac_read_search "
                       f"--inh-caps=-dac_override,-dac_read_search {os.environ.get('SLUICE_BIN') or 'build/sluice'} \"$@\"\n")
    without.chmod(0o755)
    gateway, ledger = loaded(sluice), tmp_path / "ledger"
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
