"""Item 3: the disk. Full (a small tmpfs that something else fills), at its quota (a btrfs), read-only after an error of the file
system (an ext4, which cannot be made so by hand while files are open for writing), calls that fail (strace injects the
errors: EIO of a sync, EIO, ENOSPC, EDQUOT and EROFS of every n-th write), and slow syncs. Meanwhile nothing is acknowledged that is
not durable, /readyz says what is wrong while it lasts, and service recovers by itself; from read-only with the next start, when the
operator has repaired the file system. EIO at the n-th call for every n is in the unit tests
(test_journal, "every call of the disk")."""

import os
import shutil
import time

from harness import ROOT, wait_until
from loop_file_system import FailingExt4, btrfs_with_quota, small_tmpfs
from sending import Sending, target

NUMBER, TITLE = 3, "disk full, at its quota, read-only, failing, slow"
NEEDS = ()
FULL, BOUNDED = 5, 0
LISTENERS = ("mqtt", "coap", "tcp", "http")
FAILURES = (("fdatasync", "EIO"), ("pwrite64", "EIO"), ("pwrite64", "ENOSPC"), ("pwrite64", "EDQUOT"), ("pwrite64", "EROFS"))


def send(round_, gateway, seconds, rate=400):
    return Sending(round_.dir, "disk", [target(gateway, name, connections=3) for name in LISTENERS], "-r", str(rate), "-t", f"{seconds}s")


def delivered(gateway):
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")


def fill(path):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        while True:
            os.write(fd, b"x" * 4096)
    except OSError:
        pass  # the disk is full, as wanted
    finally:
        os.close(fd)


def filled(round_, disk, release):
    """A ballast file takes all the room, and is deleted some time later."""
    gateway = round_.start({"data": str(disk / "data"), "journal": {"max_bytes": "12MiB", "max_share": "90%", "keep_free": "0%"}})
    load = send(round_, gateway, 8)
    wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 200, 20, "messages are accepted")
    ballast = disk / "ballast"
    fill(ballast)
    round_.note(f"{disk.name}: {wait_not_ready(round_, gateway)}")
    time.sleep(round_.rng.uniform(0.5, 3))
    began = time.monotonic()
    ballast.unlink()
    release()
    wait_until(lambda: gateway.status("/readyz") == 200, 30, "it serves again")
    round_.recovered(time.monotonic() - began)
    load.finish()
    delivered(gateway)
    copy_output(round_, gateway)
    return ["disk"]


def wait_not_ready(round_, gateway):
    """Waits until /readyz is 503, and returns the reasons."""
    wait_until(lambda: gateway.status("/readyz") == 503, 30, "/readyz reports the fault")
    text = gateway.admin_get("/readyz?verbose")[1]
    reasons = [line.strip() for line in text.splitlines() if "[-]" in line]
    round_.check(reasons, f"/readyz does not say why: {text}")
    return "; ".join(reasons)


def copy_output(round_, gateway):
    """The output is verified after the file system is unmounted."""
    source = gateway.file
    wrong = gateway.finish()
    round_.check(not wrong, wrong)
    gateway.file = round_.dir / "telemetry.ndjson"
    shutil.copy(source, gateway.file)


def full(round_):
    with small_tmpfs(round_.dir / "full", 32) as (disk, release):
        return with_gateway_stopped(round_, filled, disk, release)


def at_quota(round_):
    with btrfs_with_quota(round_.dir / "btrfs", 32) as (disk, release):
        return with_gateway_stopped(round_, filled, disk, release)


def read_only(round_):
    """The file system meets an error of its own and goes read-only with the journal open; the operator repairs it."""
    disk = FailingExt4(round_.dir / "ext4")
    try:
        return with_gateway_stopped(round_, broken, disk)
    finally:
        disk.remove()


def broken(round_, disk):
    gateway = round_.start({"data": str(disk.path / "data")})
    load = send(round_, gateway, 10)
    wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 200, 20, "messages are accepted")
    time.sleep(round_.rng.uniform(0, 1))
    disk.fail()
    round_.note(f"read-only: {wait_not_ready(round_, gateway)}")
    began = time.monotonic()
    gateway.kill()
    disk.repair()
    gateway.start()
    round_.recovered(time.monotonic() - began)
    load.finish()
    delivered(gateway)
    copy_output(round_, gateway)
    return ["disk"]


def with_gateway_stopped(round_, part, *more):
    """The result of part; stops the gateway in any case, since a file system in use cannot be unmounted."""
    try:
        return part(round_, *more)
    finally:
        if round_.gateway and round_.gateway.running():
            round_.gateway.finish()


def failing(round_):
    """Every n-th call fails and never reaches the disk."""
    call, error = round_.rng.choice(FAILURES)
    first, every = round_.rng.randrange(60, 120), round_.rng.randrange(7, 60)
    wrapper = round_.dir / "failing"
    wrapper.write_text(f'#!/bin/sh\nexec strace -D -qq -f -o /dev/null -e trace={call} -e inject={call}:error={error}:when={first}+{every} '
                       f'"{round_.program}" "$@"\n')
    wrapper.chmod(0o755)
    gateway = round_.start({}, program=wrapper)
    load = send(round_, gateway, 6)
    load.finish()
    failures = gateway.metrics().sum("sluice_journal_failures_total")
    round_.check(failures > 0, f"no {call} of the journal failed")
    round_.note(f"{error} of {call}, from the {first}th each {every}th: {failures:.0f} failures of the journal")
    delivered(gateway)
    return ["disk"]


def slow(round_):
    """Syncs that take a quarter of a second: everything is slow, nothing fails."""
    gateway = round_.start({}, env={"LD_PRELOAD": str(ROOT / "build" / "test" / "bench" / "slow_sync.so"), "SLOW_SYNC_US": "250000"})
    load = send(round_, gateway, 6)
    found = load.finish()
    round_.note(f"syncs of 250 ms: p99 {max(r['latency']['p99_us'] for r in found.values()) / 1000:.0f} ms")
    delivered(gateway)
    return ["disk"]


def run(round_):
    for part in (full, at_quota, read_only, failing, slow):
        round_.run_part(part)
