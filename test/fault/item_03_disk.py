"""Item 3: the disk. Full (a small tmpfs that something else fills up), calls that fail (strace answers them in the kernel's place:
EIO of a sync, EIO, ENOSPC, EDQUOT and EROFS of a write, every so-and-so-many-th), and syncs that take long. While it lasts nothing is
acknowledged that is not safe, /readyz says what is wrong where it lasts, and service comes back by itself. EIO at the n-th call
for every n is in the unit tests (test_journal, "every call of the disk").

A file system with files open for writing cannot be remounted read-only; what the gateway would see of it is EROFS."""

import os
import shutil
import subprocess
import time

from campaign import Lost
from harness import ROOT, wait_until
from sending import Sending, target

NUMBER, TITLE = 3, "disk full, failing, slow"
NEEDS = ()
FULL, BOUNDED = 5, 0
LISTENERS = ("mqtt", "coap", "tcp", "http")
FAILURES = (("fdatasync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EDQUOT"), ("pwrite64", "EROFS"))


def send(trial, gateway, seconds, rate=400):
    return Sending(trial.dir, "disk", [target(gateway, name, connections=3) for name in LISTENERS], "-r", str(rate), "-t", f"{seconds}s")


def delivered(gateway):
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except OSError:
        pass  # that is what was wanted
    finally:
        os.close(fd)


def full(trial):
    if os.geteuid():
        raise Lost("a small file system is needed, and mounting one needs root")
    disk = trial.dir / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32m", "sluice-torture", disk], check=True)
    try:
        gateway = trial.start({"data": str(disk / "data"), "journal": {"max_bytes": "12MiB", "max_share": "90%", "keep_free": "0%"}})
        load = send(trial, gateway, 8)
        wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 200, 20, "messages are accepted")
        ballast = disk / "ballast"
        fill(ballast)
        wait_until(lambda: gateway.status("/readyz") == 503, 30, "the full disk is told")
        text = gateway.admin_get("/readyz?verbose")[1]
        trial.must("[-]" in text, f"/readyz does not say why: {text}")
        time.sleep(trial.chance.uniform(0.5, 3))
        began = time.monotonic()
        ballast.unlink()
        wait_until(lambda: gateway.status("/readyz") == 200, 30, "it serves again")
        trial.recovered(time.monotonic() - began)
        load.finish()
        delivered(gateway)
        there = gateway.file
        wrong = gateway.finish()
        trial.must(not wrong, wrong)
        shutil.copy(there, trial.dir / "telemetry.ndjson")  # the file system goes before it is looked at
        gateway.file = trial.dir / "telemetry.ndjson"
    finally:
        if trial.gateway and trial.gateway.running():
            trial.gateway.finish()
        subprocess.run(["umount", "-l", disk], check=True)
    return ["disk"]


def failing(trial):
    """Every n-th call is answered with an error, and never reaches the disk."""
    call, error = trial.chance.choice(FAILURES)
    first, every = trial.chance.randrange(60, 120), trial.chance.randrange(7, 60)
    wrapper = trial.dir / "failing"
    wrapper.write_text(f'#!/bin/sh\nexec strace -D -qq -f -o /dev/null -e trace={call} -e inject={call}:error={error}:when={first}+{every} '
                       f'"{trial.program}" "$@"\n')
    wrapper.chmod(0o755)
    gateway = trial.start({}, program=wrapper)
    load = send(trial, gateway, 6)
    load.finish()
    failures = gateway.metrics().sum("sluice_journal_failures_total")
    trial.must(failures > 0, f"no {call} of the journal failed")
    trial.note(f"{error} of {call}, from the {first}th each {every}th: {failures:.0f} failures of the journal")
    delivered(gateway)
    return ["disk"]


def slow(trial):
    """Syncs that take a quarter of a second: everything waits, nothing breaks."""
    gateway = trial.start({}, env={"LD_PRELOAD": str(ROOT / "build" / "test" / "bench" / "slow_sync.so"), "SLOW_SYNC_US": "250000"})
    load = send(trial, gateway, 6)
    found = load.finish()
    trial.note(f"syncs of 250 ms: p99 {max(r['latency']['p99_us'] for r in found.values()) / 1000:.0f} ms")
    delivered(gateway)
    return ["disk"]


def play(trial):
    for part in (full, failing, slow):
        trial.part(part)
