"""Clients that send as fast as the server reads and never read an answer: QoS 1 PUBLISHes, PINGREQs, lines that are stored, lines
that are refused, pipelined HTTP requests. Their receive buffer is small, so answers soon accumulate at the server: first in its
socket's send buffer, which Linux lets grow to some megabytes (net.ipv4.tcp_wmem), then in the gateway."""

import collections
import json
import math
import select
import socket
import struct
import threading
import time

CHUNK = 16 << 10
RECEIVE_BUFFER = 4096


def publishes():
    """Packet identifiers 1 to 65535 and around again, as from a client that believes every PUBLISH was acknowledged."""
    topic, packets, number = b"devices/nonreading/t", [], 1
    while True:
        packets.append(struct.pack(">BBH", 0x32, 2 + len(topic) + 2 + 1, len(topic)) + topic + struct.pack(">H", number) + b"1")
        number = number % 65535 + 1
        if len(packets) == CHUNK // len(packets[0]):
            yield b"".join(packets)
            packets = []


def repeated(text):
    while True:
        yield text * (CHUNK // len(text))


def requests():
    """A hundred that are stored, each answered when it is durable; then requests that are refused at once, with a long answer."""
    yield REQUEST % (1, b"1") * 100
    yield from repeated(REQUEST % (2, b"{]"))


CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"  # no keep-alive, no identifier
REQUEST = b"POST /v1/telemetry/nonreading HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
LINE = json.dumps({"device": "nonreading", "n": 1}).encode() + b"\n"

# listener; opening: the bytes sent first; stream(): what follows, without an end; max_bytes: sent at most; may_finish: whether the server
# may read all of them; share: clients of this kind per client of another kind.
Kind = collections.namedtuple("Kind", "listener opening stream max_bytes may_finish share")

# Every refused line has an answer. Good lines do not: the newest count replaces those that were not sent yet, so a client that reads
# none takes no memory and is read like any other. It sends everything and is then closed by the idle time-out. A PUBACK is 4 bytes: it
# takes a million messages to fill a socket, so there are few of these clients.
KINDS = {
    "QoS 1 PUBLISHes": Kind("mqtt", CONNECT, publishes, 64 << 20, False, 0.1),
    "PINGREQs": Kind("mqtt", CONNECT, lambda: repeated(b"\xc0\x00"), 64 << 20, False, 1),
    "refused lines": Kind("tcp", b"", lambda: repeated(b"{]\n"), 64 << 20, False, 1),
    "good lines": Kind("tcp", b"", lambda: repeated(LINE), 256 << 10, True, 1),
    "HTTP requests": Kind("http", b"", requests, 64 << 20, False, 1),
}


class NonreadingClient:
    def __init__(self, kind, address, max_bytes):
        self.kind, self.sent, self.lifetime_s, self.since = kind, 0, None, time.monotonic()
        self.max_bytes, self._stream, self._data = max_bytes, KINDS[kind].stream(), KINDS[kind].opening
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self.sock.settimeout(30)
        self.sock.connect(address)
        self.sock.setblocking(False)

    def send(self):
        """Returns False when it has sent max_bytes."""
        if self.sent >= self.max_bytes:
            return False
        self._data = self._data or next(self._stream)
        count = self.sock.send(self._data)
        self.sent += count
        self._data = self._data[count:]
        return True


class NonreadingClients:
    """with NonreadingClients(gateway, each, max_bytes) as clients: ...  `each` times the kind's share of every kind; served by one thread; none
    is replaced. max_bytes: {kind: bytes} where it is not the kind's own number."""

    def __init__(self, gateway, each, max_bytes):
        self.all = [NonreadingClient(name, gateway.address(kind.listener), max_bytes.get(name, kind.max_bytes))
                    for name, kind in KINDS.items() for _ in range(math.ceil(each * kind.share))]
        self._stopping, self.failed = threading.Event(), None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._thread.join()
        for client in self.all:
            client.sock.close()
        if self.failed:
            raise self.failed

    def count(self, listener):
        return sum(KINDS[client.kind].listener == listener for client in self.all)

    def results(self):
        """For each kind: number of clients, most bytes sent by one, lifetimes of those that the server closed, whether the server read
        all max_bytes of one."""
        for kind in KINDS:
            of = [m for m in self.all if m.kind == kind]
            lifetimes = [m.lifetime_s for m in of if m.lifetime_s is not None]
            yield kind, len(of), max(m.sent for m in of), lifetimes, any(m.sent >= m.max_bytes for m in of)

    def _run(self):
        try:
            poll, by_fd = select.epoll(), {m.sock.fileno(): m for m in self.all}
            for fd in by_fd:
                poll.register(fd, select.EPOLLOUT | select.EPOLLRDHUP)
            while not self._stopping.is_set() and by_fd:
                for fd, events in poll.poll(0.1):
                    self._handle(poll, by_fd, fd, events)
            poll.close()
        except Exception as error:  # noqa: BLE001 - raised by __exit__, not lost in a thread
            self.failed = error

    @staticmethod
    def _handle(poll, by_fd, fd, events):
        client = by_fd[fd]
        try:
            closed = events & (select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP)
            if not closed and not client.send():
                poll.modify(fd, select.EPOLLRDHUP)
        except BlockingIOError:
            return
        except OSError:
            closed = True
        if closed:
            client.lifetime_s = time.monotonic() - client.since
            poll.unregister(fd)
            del by_fd[fd]
