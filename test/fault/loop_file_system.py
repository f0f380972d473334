"""Small file systems for a gateway's data, to be filled, to fail and to be repaired: mounted on a directory, as root."""

import contextlib
import os
import subprocess
from pathlib import Path

from campaign import RoundFailed


def run(*words):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, stdin=subprocess.DEVNULL,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"})
    if done.returncode:
        raise RoundFailed(f"{' '.join(map(str, words))}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class LoopFileSystem:
    """A file system at .path while it is mounted; with mib it is on an image, a file beside the directory, through a loop device."""

    def __init__(self, path, kind, *options, mib=0):
        if os.geteuid():
            raise RoundFailed("a small file system is needed, and mounting one needs root")
        self.path, self.image, self.kind, self.options = Path(path), None, kind, ",".join(options)
        self.path.mkdir()
        if mib:
            self.image = self.path.with_suffix(".img")
            with open(self.image, "wb") as image:
                image.truncate(mib << 20)
            run(f"mkfs.{kind}", "-q", self.image)
        self.mount()

    def mount(self):
        if self.image:
            run("mount", "-t", self.kind, "-o", f"loop,{self.options}".rstrip(","), self.image, self.path)
        else:
            run("mount", "-t", self.kind, "-o", self.options, "sluice-torture", self.path)

    def unmount(self):
        run("umount", self.path)

    def remove(self):
        with contextlib.suppress(RoundFailed):  # it may be unmounted already
            run("umount", "-l", self.path)
        if self.image:
            self.image.unlink()


@contextlib.contextmanager
def small_tmpfs(path, mib):
    """A tmpfs: (the directory, a function that releases the space of deleted files)."""
    file_system = LoopFileSystem(path, "tmpfs", f"size={mib}m")
    try:
        yield file_system.path, lambda: None
    finally:
        file_system.remove()


@contextlib.contextmanager
def btrfs_with_quota(path, mib):
    """The same for a directory with a quota on a larger btrfs: its quotas apply to root as well, and need no kernel module besides
    btrfs. Deleted files count until btrfs has committed its transaction."""
    file_system = LoopFileSystem(path, "btrfs", mib=256)
    try:
        directory = file_system.path / "limited"
        run("btrfs", "quota", "enable", file_system.path)
        run("btrfs", "subvolume", "create", directory)
        run("btrfs", "qgroup", "limit", f"{mib}M", directory)
        yield directory, lambda: run("btrfs", "filesystem", "sync", file_system.path)
    finally:
        file_system.remove()


class FailingExt4(LoopFileSystem):
    """An ext4 that is remounted read-only at an error, as most are mounted; fail() triggers one."""

    def __init__(self, path):
        super().__init__(path, "ext4", "errors=remount-ro", mib=128)

    def fail(self):
        device = Path(run("findmnt", "-no", "SOURCE", self.path).strip()).name
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("1")

    def repair(self):
        """Unmounts, checks and mounts it again, as an operator does. Nothing may use it."""
        self.unmount()
        done = subprocess.run(["/sbin/e2fsck", "-fy", self.image], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode > 1:  # 1: errors were corrected
            raise RoundFailed(f"e2fsck: exit code {done.returncode}: {done.stdout}{done.stderr}")
        self.mount()
