"""A cgroup that limits the processor time of one process: version 2 where its cpu controller is available, else version 1."""

import os
import re
from pathlib import Path

PERIOD_US = 10_000  # short, so that a process that has used its share is not throttled for long


def _mounts():
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        yield Path(where), kind, options.split(",")


def _own_cgroup(controller):
    """This process's cgroup by /proc/self/cgroup: of a controller of version 1, or of version 2 ("")."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") if controller else not controllers:
            return path.lstrip("/")
    return ""


def _version_2():
    for where, kind, _ in _mounts():
        if kind == "cgroup2":
            for parent in (where / _own_cgroup(""), where):  # a group that has processes cannot limit its children: then below the root
                if "cpu" in (parent / "cgroup.subtree_control").read_text().split():
                    yield parent


def _version_1():
    for where, kind, options in _mounts():
        if kind == "cgroup" and "cpu" in options:
            yield where / _own_cgroup("cpu")
            yield where


class NoCpuController(Exception):
    """No cpu controller is available on this machine."""


class CpuQuota:
    """with CpuQuota(pid, share): ...  share of one core; .version of the cgroup. Raises NoCpuController."""

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
        """(Periods in which the process was throttled, all periods)."""
        stat = dict(re.findall(r"(\w+) (\d+)", (self.path / "cpu.stat").read_text()))
        return int(stat["nr_throttled"]), int(stat["nr_periods"])

    def __exit__(self, *_):
        """Moves the process to the parent group, so that it can stop in time."""
        if self.path:
            if Path(f"/proc/{self.pid}").exists():
                (self.path.parent / "cgroup.procs").write_text(str(self.pid))
            self.path.rmdir()
