"""Item 3: the disk. Full (a small tmpfs that something else fills up), at its quota (a btrfs), read-only after an error of the file
system (an ext4, which cannot be made so by hand while files are open for writing), calls that fail (strace answers them in the
kernel's place: EIO of a sync, EIO, ENOSPC, EDQUOT and EROFS of a write, every so-and-so-many-th), and syncs that take long. While it
lasts nothing is acknowledged that is not safe, /readyz says what is wrong where it lasts, and service comes back by itself; from
read-only with the next start, when the operator has mended the file system. EIO at the n-th call for every n is in the unit tests
(test_journal, "every call of the disk")."""

import os
import shutil
import time

from harness import ROOT, wait_until
from sending import Sending, target
from loop_file_system import Breakable, limited, small

NUMBER, TITLE = 3, "disk full, at its quota, read-only, failing, slow"
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


def filled(trial, disk, gives_back):
    """Something else takes what room there is, and gives it back some time later."""
    gateway = trial.start({"data": str(disk / "data"), "journal": {"max_bytes": "12MiB", "max_share": "90%", "keep_free": "0%"}})
    load = send(trial, gateway, 8)
    wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 200, 20, "messages are accepted")
    ballast = disk / "ballast"
    fill(ballast)
    trial.note(f"{disk.name}: {told(trial, gateway)}")
    time.sleep(trial.chance.uniform(0.5, 3))
    began = time.monotonic()
    ballast.unlink()
    gives_back()
    wait_until(lambda: gateway.status("/readyz") == 200, 30, "it serves again")
    trial.recovered(time.monotonic() - began)
    load.finish()
    delivered(gateway)
    taken_along(trial, gateway)
    return ["disk"]


def told(trial, gateway):
    """Waits until /readyz says that it is not, and returns why."""
    wait_until(lambda: gateway.status("/readyz") == 503, 30, "the disk's trouble is told")
    text = gateway.admin_get("/readyz?verbose")[1]
    why = [line.strip() for line in text.splitlines() if "[-]" in line]
    trial.must(why, f"/readyz does not say why: {text}")
    return "; ".join(why)


def taken_along(trial, gateway):
    """The file system goes before what is on it is looked at."""
    there = gateway.file
    wrong = gateway.finish()
    trial.must(not wrong, wrong)
    gateway.file = trial.dir / "telemetry.ndjson"
    shutil.copy(there, gateway.file)


def full(trial):
    with small(trial.dir / "full", 32) as (disk, gives_back):
        return ended(trial, filled, disk, gives_back)


def quota(trial):
    with limited(trial.dir / "btrfs", 32) as (disk, gives_back):
        return ended(trial, filled, disk, gives_back)


def read_only(trial):
    """The file system meets an error of its own and goes read-only with the journal open; the operator mends it."""
    disk = Breakable(trial.dir / "ext4")
    try:
        return ended(trial, broken, disk)
    finally:
        disk.remove()


def broken(trial, disk):
    gateway = trial.start({"data": str(disk.path / "data")})
    load = send(trial, gateway, 10)
    wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 200, 20, "messages are accepted")
    time.sleep(trial.chance.uniform(0, 1))
    disk.fail()
    trial.note(f"read-only: {told(trial, gateway)}")
    began = time.monotonic()
    gateway.kill()
    disk.mend()
    gateway.start()
    trial.recovered(time.monotonic() - began)
    load.finish()
    delivered(gateway)
    taken_along(trial, gateway)
    return ["disk"]


def ended(trial, play, *more):
    """What play found; with its gateway ended whatever happens, since nothing unmounts below it."""
    try:
        return play(trial, *more)
    finally:
        if trial.gateway and trial.gateway.running():
            trial.gateway.finish()


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
    for part in (full, quota, read_only, failing, slow):
        trial.part(part)
