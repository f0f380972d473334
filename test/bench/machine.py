"""What the figures were measured on, and how processor time and memory of a process are read."""

import datetime
import os
import platform
import re
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def cpu_seconds(pid):
    """Processor time that all threads of a process used so far, user and system: what clock_getcpuclockid(3) names,
    the same as utime + stime of /proc/PID/stat, in nanoseconds rather than ticks."""
    return time.clock_gettime((~pid << 3) | 2)


def resident_bytes(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


def load_average():
    return os.getloadavg()[0]


def peak_bytes(pid):
    """The most resident memory it ever had."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) * 1024


def _output(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, cwd=ROOT).stdout.strip()
    except OSError:
        return ""


def _processor():
    match = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    return match.group(1) if match else platform.machine()


def _commit():
    commit = _output("git", "rev-parse", "--short=12", "HEAD") or "unknown"
    changed = _output("git", "status", "--porcelain", "--", ".", ":!docs/benchmarks.md", ":!docs/*.svg",
                      ":!docs/torture.json", ":!docs/testing.md")
    return commit + (", with uncommitted changes" if changed else "")


def facts(directory, program):
    """Name and text of each, in order."""
    release = re.search(r'PRETTY_NAME="(.*)"', Path("/etc/os-release").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1))
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": _commit(),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "memory": f"{memory / (1 << 20):.0f} GiB",
        "kernel": f"Linux {platform.release()}",
        "system": release.group(1) if release else "unknown",
        "file system": _output("stat", "-f", "-c", "%T", str(directory)),
        "program": "; ".join(line.strip() for line in _output(str(program), "--version").splitlines()[:2]),
        "load average before": f"{load_average():.1f}",
    }
