"""Thousands of connections that send one byte a second, or nothing at all, until the server closes them. One thread serves them, and
records when each was opened and when the server closed it."""

import collections
import errno
import resource
import select
import socket
import threading
import time

CONNECTING_MAX = 400  # connections being opened at one time: the listen queue is limited
SLOTS = 20     # each second is divided into this many; a connection sends its byte in one of them


class ClientKind:
    """name; address to connect to; opening is sent at once, then drip byte by byte, its last byte repeatedly."""

    def __init__(self, name, address, count, opening=b"", drip=b""):
        self.name, self.address, self.count, self.opening, self.drip = name, address, count, opening, drip
        self.opened, self.refused, self.lifetimes, self.answers = 0, 0, [], collections.Counter()

    def __str__(self):
        lifetimes = f", closed after {min(self.lifetimes):.1f} to {max(self.lifetimes):.1f} s" if self.lifetimes else ""
        return f"{self.name}: {self.opened} opened, {len(self.lifetimes)} closed by the server{lifetimes}"


class Client:
    __slots__ = ("kind", "sock", "since", "sent", "connecting")

    def __init__(self, kind, sock):
        self.kind, self.sock, self.since, self.sent, self.connecting = kind, sock, time.monotonic(), 0, True


class SlowClients:
    """with SlowClients(kinds) as clients: ...  A connection that the server closes is replaced until stop_replacing()
    (replaced=False: never)."""

    def __init__(self, kinds, replaced=True):
        self.kinds = kinds
        self.failed = None
        self._clients, self._connecting = {}, 0
        self._poll = select.epoll()
        self._lock = threading.Lock()
        self._replacing, self._replaced, self._stopping = True, replaced, False
        self._to_open = collections.deque(kind for kind in kinds for _ in range(kind.count))
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.room = hard - 200
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert sum(kind.count for kind in kinds) < self.room, f"this machine allows {hard} descriptors a process"
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping = True
        self._thread.join()
        for client in self._clients.values():
            client.sock.close()
        self._poll.close()
        if self.failed:
            raise self.failed

    def connected(self):
        """The number of connections that are established now."""
        with self._lock:
            return len(self._clients) - self._connecting

    def stop_replacing(self):
        self._replacing = False

    # -- its thread

    def _run(self):
        try:
            slot, due = 0, time.monotonic()
            while not self._stopping:
                self._open_some()
                wait = max(0, due - time.monotonic())
                for fd, events in self._poll.poll(wait if not self._to_open or not self._replacing else min(wait, 0.005)):
                    self._handle(self._clients[fd], events)
                if time.monotonic() >= due:
                    due = max(due + 1 / SLOTS, time.monotonic() - 1)
                    self._drip(slot)
                    slot = (slot + 1) % SLOTS
        except Exception as error:  # noqa: BLE001 - raised by __exit__, not lost in a thread
            self.failed = error

    def _open_some(self):
        while self._replacing and self._to_open and self._connecting < CONNECTING_MAX:
            kind = self._to_open.popleft()
            sock = socket.socket()
            sock.setblocking(False)
            code = sock.connect_ex(kind.address)
            if code not in (0, errno.EINPROGRESS):
                raise OSError(code, f"{kind.name}: {errno.errorcode[code]}")
            with self._lock:
                self._clients[sock.fileno()] = Client(kind, sock)
                self._connecting += 1
            self._poll.register(sock, select.EPOLLOUT)

    def _handle(self, client, events):
        if client.connecting:
            if client.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                client.kind.refused += 1
                self._remove(client)
                return
            with self._lock:
                client.connecting = False
                self._connecting -= 1
            client.since = time.monotonic()
            client.kind.opened += 1
            self._poll.modify(client.sock, select.EPOLLIN)
            if client.kind.opening:
                self._send(client, client.kind.opening)
            return
        try:
            data = client.sock.recv(4096)
        except OSError:
            data = b""
        if data:
            client.kind.answers[data[:12]] += 1
            return
        client.kind.lifetimes.append(time.monotonic() - client.since)
        self._remove(client)

    def _send(self, client, data):
        try:
            client.sock.send(data)
        except OSError:
            pass  # the closed connection is noticed by the next recv

    def _drip(self, slot):
        for fd in [fd for fd in self._clients if fd % SLOTS == slot]:
            client = self._clients[fd]
            drip = client.kind.drip
            if drip and not client.connecting:
                self._send(client, drip[client.sent:client.sent + 1])
                client.sent = min(client.sent + 1, len(drip) - 1)

    def _remove(self, client):
        with self._lock:
            del self._clients[client.sock.fileno()]
            if client.connecting:
                self._connecting -= 1
        self._poll.unregister(client.sock)
        client.sock.close()
        if self._replaced:
            self._to_open.append(client.kind)
