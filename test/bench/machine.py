"""What the figures were measured on, and how processor time and memory of a process are read."""

import datetime
import mmap
import os
import platform
import re
import statistics
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


def sync_times(directory, size, count):
    """Seconds that each of count writes of size bytes and their fdatasync took: O_DIRECT, in a file that has all its
    blocks already, one behind the other, as the journal does it. None where O_DIRECT is refused."""
    path = Path(directory) / "sync"
    room = 16 << 20
    page = mmap.mmap(-1, size)  # its address is a multiple of the page size
    page.write(os.urandom(size))
    times = []
    try:
        with open(path, "wb") as file:
            file.write(bytes(room))
            os.fsync(file.fileno())
        try:
            fd = os.open(path, os.O_WRONLY | os.O_DIRECT)
        except OSError:
            return None
        try:
            for i in range(count):
                start = time.perf_counter()
                os.pwrite(fd, page, i * size % room)
                os.fdatasync(fd)
                times.append(time.perf_counter() - start)
        finally:
            os.close(fd)
    finally:
        path.unlink(missing_ok=True)
    return times


def _sync_fact(directory, size):
    times = sync_times(directory, size, 200)
    if times is None:
        return "O_DIRECT refused"
    times.sort()
    return f"{statistics.median(times) * 1e6:.0f} us (middle half {times[50] * 1e6:.0f} - {times[150] * 1e6:.0f})"


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
    changed = _output("git", "status", "--porcelain", "--", ".", ":!docs/benchmarks.md", ":!docs/benchmarks.svg")
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
        "write and sync of 4 KiB": _sync_fact(directory, 4096),
        "write and sync of 256 KiB": _sync_fact(directory, 256 << 10),
        "program": "; ".join(line.strip() for line in _output(str(program), "--version").splitlines()[:2]),
        "load average before": f"{load_average():.1f}",
    }
