"""A way to a real server that misbehaves when it is told to: bytes are passed on in both directions, until .mode says otherwise.

    pass      as they come
    freeze    connections stay open and nothing moves (half-open)
    cut       an answer is cut in the middle by a reset
    slow      a little every now and then
    garbage   the server is not asked; what is answered is no HTTP
    empty     ... is a 200 with something else in it
    redirect  ... is a 302 to nowhere"""

import socket
import struct
import threading
import time

ANSWERS = {
    "garbage": b"\x15\x03\x01\x00\x02\x02\x28 this is no HTTP\r\n\r\n",
    "empty": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
}
MODES = ("freeze", "cut", "slow", *ANSWERS)


def reset(connection):
    """Ends it with a reset, now: while another thread waits to receive from it, closing it alone would send nothing."""
    own = socket.socket(fileno=connection.detach())
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    own.shutdown(socket.SHUT_RD)  # the other thread lets go; the peer is told nothing by that
    own.close()


class Proxy:
    """In front of host and port; .url to reach it by, at a free port unless one is given; struck counts what it did in a mode
    other than pass."""

    def __init__(self, host, port, listen=0):
        self._to, self.mode, self.injected, self._closed = (host, port), "pass", 0, False
        self._listener = socket.create_server(("127.0.0.1", listen), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        self._closed, self.mode = True, "pass"
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._to, timeout=10)
            except OSError:
                continue
            server.settimeout(None)
            for args in ((client, server, False), (server, client, True)):
                threading.Thread(target=self._pass, args=args, daemon=True).start()

    def _pass(self, source, sink, answers):
        try:
            while data := source.recv(65536):
                self._forward(data, source, sink, answers)
        except OSError:
            pass
        for end in (source, sink):  # one direction ends: the other one does, too
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        source.close()

    def _forward(self, data, source, sink, answers):
        while self.mode == "freeze":
            self.injected += 1
            time.sleep(0.02)
        if self.mode == "cut" and answers:
            self.injected += 1
            sink.sendall(data[:len(data) // 2])
            reset(sink)
            raise OSError("cut")
        if self.mode in ANSWERS and not answers:
            self.injected += 1
            source.sendall(ANSWERS[self.mode])
            raise OSError("answered")
        if self.mode == "slow":
            self.injected += 1
            time.sleep(0.3)
        sink.sendall(data)
