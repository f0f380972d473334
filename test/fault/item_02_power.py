"""Item 2: a power cut. The disk table of the unit tests (test/unit/sim_disk.h) remembers every write that is not synced and
leaves any of it, in any order, torn at 512 bytes, names missing: after 10,000 such cuts recovery has
every record that was acknowledged, nothing else, and starts; mutants of the program and disks that lie are detected (no
fdatasync, no sync of the directory, an early acknowledgement, a cursor ahead). And, seen from the kernel: no acknowledgement leaves before
the fdatasync that covers it has returned, over TCP and MQTT (test/system/test_acks.py, which make test runs, too)."""

import os
import subprocess
import sys

from campaign import RoundFailed
from harness import ROOT

NUMBER, TITLE = 2, "power cut in any state of the disk"
NEEDS = ()
FULL, BOUNDED = 1, 0  # make unit and make system run the same with fewer cuts

STATES = 10_000


def traced(round_):
    env = {**os.environ, "SLUICE_BIN": str(round_.program)}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "system/test_acks.py", "-k",
                           "no_acknowledgement_leaves_before_the_sync"], cwd=ROOT / "test", env=env, capture_output=True, text=True,
                          timeout=600)
    if done.returncode:
        raise RoundFailed(f"strace: {done.stdout[-3000:]}")
    round_.note(f"strace: {done.stdout.strip().splitlines()[-1]}")


def run(round_):
    env = {"SLUICE_CRASH_STATES": str(STATES)}
    for tests in ("what_was_durable*", "it_survives*", "*is_caught"):
        round_.run_unit("test_journal", tests, env=env)
    round_.run_unit("test_journal_state")
    traced(round_)
