"""A proxy to a real server that misbehaves on request: it forwards bytes in both directions, unless .mode says otherwise.

    pass      unchanged
    freeze    connections stay open and nothing moves (half-open)
    cut       an answer is cut in the middle by a reset
    slow      each piece after 0.3 s
    garbage   the server gets nothing; the answer is not HTTP
    empty     the same; the answer is a 200 with something else in it
    redirect  the same; the answer is a 302 to a closed port"""

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
    """Closes it with a reset at once: while another thread blocks in recv, close alone would send nothing."""
    own = socket.socket(fileno=connection.detach())
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    own.shutdown(socket.SHUT_RD)  # the other thread returns from recv; nothing is sent to the peer
    own.close()


class Proxy:
    """In front of host and port; .url is its address, at a free port unless one is given; .injected counts what it did in a mode
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
        for end in (source, sink):  # when one direction ends, so does the other
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
