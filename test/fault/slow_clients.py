"""Clients that mean no good: thousands of connections that send a byte a second, or nothing at all, for ever. One thread
keeps them; what it notes is when each was opened and when the server closed it."""

import collections
import errno
import resource
import select
import socket
import threading
import time

OPENING = 400  # connections that are being opened at one time: the server's queue has an end
SLOTS = 20     # the second in which everybody sends a byte is cut into so many


class Kind:
    """name; where they connect to; hello is sent at once, then drip byte by byte, its last byte again and again."""

    def __init__(self, name, address, count, hello=b"", drip=b""):
        self.name, self.address, self.count, self.hello, self.drip = name, address, count, hello, drip
        self.opened, self.refused, self.ages, self.answers = 0, 0, [], collections.Counter()

    def __str__(self):
        ages = f", closed after {min(self.ages):.1f} to {max(self.ages):.1f} s" if self.ages else ""
        return f"{self.name}: {self.opened} opened, {len(self.ages)} closed by the server{ages}"


class Member:
    __slots__ = ("kind", "sock", "since", "at", "connecting")

    def __init__(self, kind, sock):
        self.kind, self.sock, self.since, self.at, self.connecting = kind, sock, time.monotonic(), 0, True


class Herd:
    """with Herd(kinds) as herd: ...  They are kept at their number until settle(), from when on nobody is replaced
    (replaced=False: nobody is from the start)."""

    def __init__(self, kinds, replaced=True):
        self.kinds = kinds
        self.failed = None
        self._members, self._opening = {}, 0
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self._replacing, self._replaced, self._over = True, replaced, False
        self._missing = collections.deque(kind for kind in kinds for _ in range(kind.count))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.room = hard - 200
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert sum(kind.count for kind in kinds) < self.room, f"this machine allows {hard} descriptors a process"
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over = True
        self._thread.join()
        for member in self._members.values():
            member.sock.close()
        self._poll.close()
        if self.failed:
            raise self.failed

    def standing(self):
        """How many are connected now."""
        with self._lock:
            return len(self._members) - self._opening

    def settle(self):
        self._replacing = False

    # -- its thread

    def _run(self):
        try:
            slot, due = 0, time.monotonic()
            while not self._over:
                self._open_some()
                wait = max(0, due - time.monotonic())
                for fd, events in self._poll.poll(wait if not self._missing or not self._replacing else min(wait, 0.005)):
                    self._look(self._members[fd], events)
                if time.monotonic() >= due:
                    due = max(due + 1 / SLOTS, time.monotonic() - 1)
                    self._drip(slot)
                    slot = (slot + 1) % SLOTS
        except Exception as error:  # noqa: BLE001 - told by the item, not lost in a thread
            self.failed = error

    def _open_some(self):
        while self._replacing and self._missing and self._opening < OPENING:
            kind = self._missing.popleft()
            sock = socket.socket()
            sock.setblocking(False)
            code = sock.connect_ex(kind.address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, f"{kind.name}: {errno.errorcode[code]}")
            with self._lock:
                self._members[sock.fileno()] = Member(kind, sock)
                self._opening += 1
            self._poll.register(sock, select.EPOLLOUT)

    def _look(self, member, events):
        if member.connecting:
            if member.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                member.kind.refused += 1
                self._gone(member)
                return
            with self._lock:
                member.connecting = False
                self._opening -= 1
            member.since = time.monotonic()
            member.kind.opened += 1
            self._poll.modify(member.sock, select.EPOLLIN)
            if member.kind.hello:
                self._send(member, member.kind.hello)
            return
        try:
            data = member.sock.recv(4096)
        except OSError:
            data = b""
        if data:
            member.kind.answers[data[:12]] += 1
            return
        member.kind.ages.append(time.monotonic() - member.since)
        self._gone(member)

    def _send(self, member, data):
        try:
            member.sock.send(data)
        except OSError:
            pass  # its end is read in a moment

    def _drip(self, slot):
        for fd in [fd for fd in self._members if fd % SLOTS == slot]:
            member = self._members[fd]
            drip = member.kind.drip
            if drip and not member.connecting:
                self._send(member, drip[member.at:member.at + 1])
                member.at = min(member.at + 1, len(drip) - 1)

    def _gone(self, member):
        with self._lock:
            del self._members[member.sock.fileno()]
            if member.connecting:
                self._opening -= 1
        self._poll.unregister(member.sock)
        member.sock.close()
        if self._replaced:
            self._missing.append(member.kind)
