"""Item 2: a power cut. The disk table of the unit tests (test/unit/sim_disk.h) remembers every write that is not synced and
leaves any of it, in any order, torn at 512 bytes, names missing: after 10,000 such cuts recovery has
every record that was acknowledged, nothing else, and starts; programs and disks that lie are found out (no fdatasync, no
sync of the directory, an early acknowledgement, a cursor ahead). And, seen from the kernel: no acknowledgement leaves before
the fdatasync that covers it has returned, over TCP and MQTT (test/system/test_acks.py, which make test runs, too)."""

import os
import subprocess
import sys

from campaign import Lost
from harness import ROOT

NUMBER, TITLE = 2, "power cut in any state of the disk"
NEEDS = ()
FULL, BOUNDED = 1, 0  # make unit and make system run the same with fewer cuts

STATES = 10_000


def traced(trial):
    env = {**os.environ, "SLUICE_BIN": str(trial.program)}
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "system/test_acks.py", "-k",
                           "no_acknowledgement_leaves_before_the_sync"], cwd=ROOT / "test", env=env, capture_output=True, text=True,
                          timeout=600)
    if done.returncode:
        raise Lost(f"strace: {done.stdout[-3000:]}")
    trial.note(f"strace: {done.stdout.strip().splitlines()[-1]}")


def play(trial):
    env = {"SLUICE_CRASH_STATES": str(STATES)}
    for tests in ("what_was_durable*", "it_survives*", "*is_caught"):
        trial.unit("test_journal", tests, env=env)
    trial.unit("test_journal_state")
    traced(trial)
