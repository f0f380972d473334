"""Devices that send numbered messages over each protocol, and know which were acknowledged.

Each is a thread with one connection. It numbers its messages 0, 1, 2 ..., keeps a window of them unacknowledged, and
when its connection ends it connects again and sends once more what was not acknowledged, in order, before it goes on.
All is done on plain sockets, so that nothing is retried or taken for acknowledged behind our back."""

import collections
import http.client
import json
import select
import socket
import struct
import threading
import time

from harness import SLOWNESS

PATIENCE = 5 * SLOWNESS  # s without any acknowledgement, then the connection is given up and made anew


class Device(threading.Thread):
    """acked: numbers that were acknowledged; sends: for each number how often it was sent; errors: what
    should not be."""

    protocol = None
    window = 64

    def __init__(self, gateway, name=None, rate=1000, listener=None):
        super().__init__(daemon=True)
        self.device = name or f"{self.protocol}-device"
        self.address = gateway.address(listener or self.protocol)
        self.rate = rate
        self.acked, self.sends, self.errors = set(), collections.Counter(), []
        self.sessions = 0
        self._next = 0
        self._again = collections.deque()
        self._open = collections.OrderedDict()  # sent in this session and not acknowledged: key -> number
        self._stopping, self._abandoned = threading.Event(), threading.Event()
        self._began = time.monotonic()

    def payload(self, n):
        return json.dumps({"device": self.device, "n": n, "text": "x" * 80, "value": n * 0.5}).encode()

    # -- for the test

    def finish(self, timeout=30):
        """No new numbers; waits until all that was sent is acknowledged."""
        self._stopping.set()
        self.join(timeout * SLOWNESS)
        assert not self.is_alive(), f"{self.device}: {len(self.sends) - len(self.acked)} of {len(self.sends)} " \
            f"numbers were never acknowledged, the first {sorted(set(self.sends) - self.acked)[:3]}"

    def quiet(self):
        """No new numbers, and no more connections."""
        self._stopping.set()
        self._abandoned.set()
        self.join(15 * SLOWNESS)
        assert not self.is_alive()

    # -- for the protocols

    def _take(self):
        """The next number to send, or None: nothing now."""
        if len(self._open) >= self.window:
            return None
        if self._again:
            n = self._again.popleft()
        else:
            due = self.rate * (time.monotonic() - self._began)
            if self._stopping.is_set() or self._next >= due:
                return None
            n = self._next
            self._next += 1
        self.sends[n] += 1
        return n

    def _take_many(self, most):
        out = []
        while len(out) < most and (n := self._take()) is not None:
            out.append(n)
            self._open[n] = n
        return out

    def _ack(self, key):
        self.acked.add(self._open.pop(key))

    def _has_more(self):
        return bool(self._again or self._open or not self._stopping.is_set())

    def run(self):
        while self._has_more() and not self._abandoned.is_set():
            try:
                self.sessions += 1
                self._session()
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
            except Exception as error:  # noqa: BLE001 - told by the test, not lost in a thread
                self.errors.append(repr(error))
                return
            finally:
                self._again = collections.deque(sorted([*self._open.values(), *self._again]))
                self._open.clear()

    def _turns(self, s):
        """Yields whether there is something to read, while there is something to do. The connection is given up when
        nothing was acknowledged for long."""
        count, since = len(self.acked), time.monotonic()
        while self._has_more() and not self._abandoned.is_set():
            yield bool(select.select([s], [], [], 0.005)[0])
            if len(self.acked) > count or not self._open:
                count, since = len(self.acked), time.monotonic()
            elif time.monotonic() - since > PATIENCE:
                raise TimeoutError


class TcpDevice(Device):
    """Lines; the listener must have `reply: count` and `device: /device`."""

    protocol = "tcp"
    window = 256

    def _session(self):
        with socket.create_connection(self.address, timeout=PATIENCE) as s:
            rest, confirmed = b"", 0
            for readable in self._turns(s):
                if readable:
                    data = s.recv(65536)
                    if not data:
                        return
                    *lines, rest = (rest + data).split(b"\n")
                    for line in lines:
                        word, count, *_ = line.split()
                        if word != b"ok":
                            self.errors.append(line.decode())
                            continue
                        while confirmed < int(count):
                            self._ack(next(iter(self._open)))
                            confirmed += 1
                numbers = self._take_many(100)
                if numbers:
                    s.sendall(b"".join(self.payload(n) + b"\n" for n in numbers))


class MqttDevice(Device):
    """MQTT 3.1.1, QoS 1, pipelined."""

    protocol = "mqtt"
    window = 100

    @staticmethod
    def packet(first, body):
        length, rest = b"", len(body)
        while True:
            length += bytes([rest % 128 | (128 if rest > 127 else 0)])
            rest //= 128
            if not rest:
                return bytes([first]) + length + body

    @staticmethod
    def text(value):
        value = value.encode()
        return struct.pack(">H", len(value)) + value

    def _publish(self, n):
        topic = self.text(f"devices/{self.device}/crash")
        again = 8 if self.sends[n] > 1 else 0
        return self.packet(0x32 | again, topic + struct.pack(">H", n % 65535 + 1) + self.payload(n))

    def _session(self):
        with socket.create_connection(self.address, timeout=PATIENCE) as s:
            s.sendall(self.packet(0x10, self.text("MQTT") + b"\x04\x02\x00\x3c" + self.text(self.device)))
            data = b""
            while len(data) < 4:
                more = s.recv(4 - len(data))
                if not more:
                    return
                data += more
            if data == b"\x20\x02\x00\x03":  # server unavailable: full now
                raise ConnectionError
            if data != b"\x20\x02\x00\x00":
                self.errors.append(f"CONNACK {data.hex()}")
                return
            rest = b""
            for readable in self._turns(s):
                if readable:
                    data = s.recv(65536)
                    if not data:
                        return
                    rest += data
                    while len(rest) >= 4:
                        kind, length, identifier = struct.unpack(">BBH", rest[:4])
                        if (kind, length) != (0x40, 2):
                            self.errors.append(f"not a PUBACK: {rest[:4].hex()}")
                            return
                        first = next(iter(self._open.values()))
                        if identifier != first % 65535 + 1:
                            self.errors.append(f"PUBACK {identifier} when {first % 65535 + 1} is due [MQTT-4.6.0-2]")
                            return
                        self._ack(first)
                        rest = rest[4:]
                numbers = self._take_many(50)
                if numbers:
                    s.sendall(b"".join(map(self._publish, numbers)))


class CoapDevice(Device):
    """Confirmable POSTs, several at a time; retransmitted after 2 s (RFC 7252, 4.2)."""

    protocol = "coap"
    window = 16
    _started = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._message_id = 1
        self._sent = {}  # number -> (datagram, when)

    @staticmethod
    def option(delta, value):
        assert delta < 13 and len(value) < 269
        head = bytes([delta << 4 | min(len(value), 13)])
        return head + (bytes([len(value) - 13]) if len(value) >= 13 else b"") + value

    def _request(self, n):
        self._message_id = self._message_id % 65535 + 1
        path = self.option(11, b"t") + self.option(0, self.device.encode()) + self.option(0, b"crash")
        return (struct.pack(">BBHI", 0x44, 0x02, self._message_id, n) + path + self.option(1, b"\x32") + b"\xff" +
                self.payload(n))

    def _session(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.connect(self.address)
            self._sent.clear()
            for readable in self._turns(s):
                if readable:
                    self._receive(s, s.recv(2048))
                for n in self._take_many(16):
                    self._sent[n] = self._request(n), time.monotonic()
                    s.send(self._sent[n][0])
                for n, (datagram, when) in list(self._sent.items()):
                    if time.monotonic() - when > 2:
                        self.sends[n] += 1
                        self._sent[n] = datagram, time.monotonic()
                        s.send(datagram)

    def _receive(self, s, data):
        first, code, message_id = struct.unpack(">BBH", data[:4])
        if code == 0:
            if first & 0x30 == 0x30:
                self.errors.append("RST")
            return  # an empty acknowledgement: the response comes separately
        (n,) = struct.unpack(">I", data[4:8])
        if first & 0x30 == 0:
            s.send(struct.pack(">BBH", 0x60, 0, message_id))
        if n not in self._open:
            return
        if code == 0x44:
            self._ack(n)
            del self._sent[n]
        elif code != 0xa3:  # 5.03: full now; it is sent again
            self.errors.append(f"code {code >> 5}.{code & 31:02d}")
            del self._open[n], self._sent[n]


class HttpDevice(Device):
    """One message a request, on one connection."""

    protocol = "http"
    window = 1

    def _session(self):
        connection = http.client.HTTPConnection(*self.address, timeout=2 * PATIENCE)
        try:
            while self._has_more() and not self._abandoned.is_set():
                numbers = self._take_many(self.window)
                if numbers:
                    self._post(connection, numbers)
                else:
                    time.sleep(0.002)
        finally:
            connection.close()

    def _post(self, connection, numbers):
        connection.request("POST", f"/v1/telemetry/{self.device}/crash", self.payload(numbers[0]),
                           {"Content-Type": "application/json"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 204:
            self._ack(numbers[0])
        elif answer.status == 503:
            self._again.appendleft(self._open.popitem()[1])
            time.sleep(0.02)
        else:
            self.errors.append(f"{answer.status} {body.decode(errors='replace')}")
            self._open.clear()


class HttpBatchDevice(HttpDevice):
    """NDJSON batches."""

    window = 50

    def __init__(self, gateway, name="http-batch-device", **kwargs):
        super().__init__(gateway, name, **kwargs)

    def _post(self, connection, numbers):
        connection.request("POST", "/v1/telemetry", b"".join(self.payload(n) + b"\n" for n in numbers),
                           {"Content-Type": "application/x-ndjson"})
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 200:
            told = json.loads(body)
            if told.get("accepted") != len(numbers) or told.get("rejected"):
                self.errors.append(f"batch of {len(numbers)}: {told}")
            for n in numbers:
                self._ack(n)
        elif answer.status == 503:
            self._again.extendleft(sorted(self._open.values(), reverse=True))
            self._open.clear()
            time.sleep(0.02)
        else:
            self.errors.append(f"{answer.status} {body.decode(errors='replace')}")
            self._open.clear()


def fleet(gateway, rate=1000):
    """One of each kind; not started yet."""
    return [TcpDevice(gateway, rate=2 * rate), MqttDevice(gateway, rate=2 * rate), CoapDevice(gateway, rate=rate),
            HttpDevice(gateway, rate=rate), HttpDevice(gateway, "http-device-2", rate=rate),
            HttpBatchDevice(gateway, rate=2 * rate)]
