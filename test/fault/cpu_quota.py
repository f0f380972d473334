"""A cgroup of our own that caps the processor time of one process: version 2 where its cpu controller can be had, else version 1."""

import os
import re
from pathlib import Path

PERIOD_US = 10_000  # short, so that a process that has used its share does not stand still for long


def _mounts():
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        yield Path(where), kind, options.split(",")


def _own_cgroup(controller):
    """The cgroup that we are in, as /proc/self/cgroup has it: of a controller of version 1, or of version 2 ("")."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") if controller else not controllers:
            return path.lstrip("/")
    return ""


def _version_2():
    for where, kind, _ in _mounts():
        if kind == "cgroup2":
            for parent in (where / _own_cgroup(""), where):  # below a group with processes of its own there may be no limits: then at the top
                if "cpu" in (parent / "cgroup.subtree_control").read_text().split():
                    yield parent


def _version_1():
    for where, kind, options in _mounts():
        if kind == "cgroup" and "cpu" in options:
            yield where / _own_cgroup("cpu")
            yield where


class NoCpuController(Exception):
    """There is none to be had here."""


class CpuQuota:
    """with Quota(pid, share): ...  share of one core; .kind tells which version it is. NoCgroup."""

    def __init__(self, pid, share):
        self.pid, self.share, self.path, self.version = pid, share, None, None

    def __enter__(self):
        reason = "there is no cpu controller"
        for version, parents in (("cgroup v2", _version_2), ("cgroup v1", _version_1)):
            try:
                for parent in parents():
                    if self._make(version, parent):
                        return self
            except OSError as error:
                reason = f"{version}: {error}"
        raise NoCpuController(reason)

    def _make(self, version, parent):
        path = parent / f"sluice-torture-{os.getpid()}-{self.pid}"
        path.mkdir()
        self.path, self.version = path, version
        quota_us = int(PERIOD_US * self.share)
        try:
            if version == "cgroup v2":
                (path / "cpu.max").write_text(f"{quota_us} {PERIOD_US}")
            else:
                (path / "cpu.cfs_period_us").write_text(str(PERIOD_US))
                (path / "cpu.cfs_quota_us").write_text(str(quota_us))
            (path / "cgroup.procs").write_text(str(self.pid))
        except OSError:
            self.path.rmdir()
            self.path = None
            raise
        return True

    def throttled(self):
        """Periods in which it had used its share, of how many."""
        stat = dict(re.findall(r"(\w+) (\d+)", (self.path / "cpu.stat").read_text()))
        return int(stat["nr_throttled"]), int(stat["nr_periods"])

    def __exit__(self, *_):
        """Without its cap the process can stop in time; it ends in the group above."""
        if self.path:
            if Path(f"/proc/{self.pid}").exists():
                (self.path.parent / "cgroup.procs").write_text(str(self.pid))
            self.path.rmdir()
