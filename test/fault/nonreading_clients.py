"""Clients that send as fast as they are read and never read an answer: QoS 1 PUBLISHes, PINGREQs, lines that are safe and lines
that are refused, HTTP requests in a row. Their receive buffer is small, so that their answers soon lie at the server: in its socket's
buffer first, which Linux lets grow to some megabytes (net.ipv4.tcp_wmem), and then in the gateway."""

import collections
import json
import math
import select
import socket
import struct
import threading
import time

CHUNK = 16 << 10
RECEIVE = 4096


def publishes():
    """Numbered 1 to 65535 and again, as a client does that believes every one was acknowledged."""
    topic, packets, number = b"devices/mute/t", [], 1
    while True:
        packets.append(struct.pack(">BBH", 0x32, 2 + len(topic) + 2 + 1, len(topic)) + topic + struct.pack(">H", number) + b"1")
        number = number % 65535 + 1
        if len(packets) == CHUNK // 21:
            yield b"".join(packets)
            packets = []


def always(text):
    while True:
        yield text * (CHUNK // len(text))


def requests():
    """A hundred that are stored, each answered when it is safe; then such as are refused, at once and at some length."""
    yield REQUEST % (1, b"1") * 100
    yield from always(REQUEST % (2, b"{]"))


CONNECT = b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x00\x00\x00"  # no keep-alive, no identifier
REQUEST = b"POST /v1/telemetry/mute HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
LINE = json.dumps({"device": "mute", "n": 1}).encode() + b"\n"

# listener; first: what it says first; again(): what then, without an end; most bytes; ends: whether it may get through with them;
# share: how many there are for one of another kind.
Kind = collections.namedtuple("Kind", "listener first again most ends share")

# What is refused line by line is answered line by line. Good lines are not: the newest count replaces those that have not left, so
# that a peer which reads none takes no room, and is read like any other. It has its say and then runs into the idle time-out. A PUBACK
# is 4 bytes: a million messages until a socket is full, so that of those there are few.
KINDS = {
    "QoS 1 PUBLISHes": Kind("mqtt", CONNECT, publishes, 64 << 20, False, 0.1),
    "PINGREQs": Kind("mqtt", CONNECT, lambda: always(b"\xc0\x00"), 64 << 20, False, 1),
    "refused lines": Kind("tcp", b"", lambda: always(b"{]\n"), 64 << 20, False, 1),
    "good lines": Kind("tcp", b"", lambda: always(LINE), 256 << 10, True, 1),
    "HTTP requests": Kind("http", b"", requests, 64 << 20, False, 1),
}


class Mute:
    def __init__(self, kind, address, most):
        self.kind, self.sent, self.closed_s, self.since = kind, 0, None, time.monotonic()
        self.most, self._more, self._data = most, KINDS[kind].again(), KINDS[kind].first
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)
        self.sock.settimeout(30)
        self.sock.connect(address)
        self.sock.setblocking(False)

    def send(self):
        """False: it has said all it wants to say."""
        if self.sent >= self.most:
            return False
        self._data = self._data or next(self._more)
        count = self.sock.send(self._data)
        self.sent += count
        self._data = self._data[count:]
        return True


class Mutes:
    """with Mutes(gateway, each, most) as mutes: ...  `each` of every kind, or a share of it; kept by one thread; none is replaced. most: bytes that
    one of a kind sends at most, where it is not the kind's own number."""

    def __init__(self, gateway, each, most):
        self.all = [Mute(name, gateway.address(kind.listener), most.get(name, kind.most)) for name, kind in KINDS.items() for _ in range(math.ceil(each * kind.share))]
        self._over, self.failed = threading.Event(), None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()
        for mute in self.all:
            mute.sock.close()
        if self.failed:
            raise self.failed

    def count(self, listener):
        return sum(KINDS[mute.kind].listener == listener for mute in self.all)

    def told(self):
        """For each kind: how many there were, how many bytes one sent at most, after what times the server closed them, and whether it read
        all that one had to say."""
        for kind in KINDS:
            of = [m for m in self.all if m.kind == kind]
            ages = [m.closed_s for m in of if m.closed_s is not None]
            yield kind, len(of), max(m.sent for m in of), ages, any(m.sent >= m.most for m in of)

    def _run(self):
        try:
            poll, by_fd = select.epoll(), {m.sock.fileno(): m for m in self.all}
            for fd in by_fd:
                poll.register(fd, select.EPOLLOUT | select.EPOLLRDHUP)
            while not self._over.is_set() and by_fd:
                for fd, events in poll.poll(0.1):
                    self._turn(poll, by_fd, fd, events)
            poll.close()
        except Exception as error:  # noqa: BLE001 - told by the item, not lost in a thread
            self.failed = error

    @staticmethod
    def _turn(poll, by_fd, fd, events):
        mute = by_fd[fd]
        try:
            over = events & (select.EPOLLERR | select.EPOLLHUP | select.EPOLLRDHUP)
            if not over and not mute.send():
                poll.modify(fd, select.EPOLLRDHUP)
        except BlockingIOError:
            return
        except OSError:
            over = True
        if over:
            mute.closed_s = time.monotonic() - mute.since
            poll.unregister(fd)
            del by_fd[fd]
