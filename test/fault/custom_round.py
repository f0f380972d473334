"""A round that is not "load, inject, verify" but consists of parts, each with its own gateway, runs of sluice-load, notes and
checks. For items that have a run()."""

import os
import random
import re
import shutil
import subprocess

from campaign import SMALL, RoundFailed
from harness import DEFAULTS, ROOT, Sluice, merge  # test/system
from sending import verify


class CustomRound:
    """.dir (of this part), .bounded, .rng; .sent, .acknowledged, .missing, .duplicates, .recovery_s, .notes at the end."""

    program = ROOT / "build" / "sluice"

    def __init__(self, directory, seed, bounded):
        self.root, self.bounded, self.rng = directory, bounded, random.Random(seed)
        self.sent = self.acknowledged = self.missing = self.duplicates = 0
        self.recovery_s, self.notes, self._failures = 0.0, [], []
        self.dir, self.gateway = directory, None
        directory.mkdir(parents=True)

    # -- for the item

    def run_part(self, part):
        """Runs one part: part(round_) returns the names of its runs of sluice-load, and all that they had acknowledged must be there."""
        self.dir, self.gateway = self.root / part.__name__, None
        self.dir.mkdir()
        try:
            self._verify_runs(part(self))
        finally:
            if self.gateway and self.gateway.running():
                self.gateway.finish()
        if self._failures:
            raise RoundFailed("\n  ".join([f"{part.__name__}: {'; '.join(self._failures)}", *self.notes]))
        shutil.rmtree(self.dir)

    def start(self, change, program=None, env=None):
        """Starts the part's gateway: small segments and lanes, and these changes of the configuration."""
        self.gateway = Sluice(self.dir, merge(merge(DEFAULTS, SMALL), change), program or self.program, env)
        return self.gateway.start()

    def run_unit(self, name, tests=None, env=None, timeout=3600):
        """Runs a unit test program that make has built; all its tests must pass."""
        program = next((ROOT / "build" / "test" / "unit").rglob(name), None)
        if not program:
            raise RoundFailed(f"{name} is not there: make torture builds it")
        done = subprocess.run([program, *([tests] if tests else [])], env={**os.environ, **(env or {})}, capture_output=True,
                              text=True, timeout=timeout)
        output = done.stdout + done.stderr
        if done.returncode:
            raise RoundFailed(f"{name} ended with exit code {done.returncode}: {output[-2000:]}")
        passed = re.search(r"PASSED\D+(\d+) test", output)
        self.note(f"{name}: {passed.group(1)} tests passed{''.join(f', {k}={v}' for k, v in (env or {}).items())}")

    def note(self, text):
        """Adds a line to the round's result."""
        self.notes.append(text)

    def check(self, holds, otherwise):
        """If it does not hold the part fails at its end: it continues, to find what else is wrong."""
        if not holds:
            self._failures.append(otherwise)

    def recovered(self, seconds):
        self.recovery_s = max(self.recovery_s, seconds)

    # -- internal

    def _verify_runs(self, runs):
        wrong = self.gateway.finish()
        self.check(not wrong, wrong)
        for run in runs:
            self.add_verdict(verify(self.dir / f"{run}.ledger", self.gateway.file))

    def add_verdict(self, total):
        self.sent += total["sent"]
        self.acknowledged += total["acknowledged"]
        self.missing += total["missing"]
        self.duplicates += total["twice"]
        self.check(not total["missing"] and not total["unknown"],
                   f"{total['missing']} acknowledged messages are missing, {total['unknown']} were never sent")
