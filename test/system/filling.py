"""A gateway whose journal has no room: a configuration that is soon full, how it is filled, and what clients hear then."""

import asyncio
import socket
import threading

from harness import merge, wait_until

NAMES = ("mqtt", "coap", "tcp", "http")
SMALL_LANES = {"listeners": merge({name: {"lane": "64KiB", "max_payload": "8KiB"} for name in NAMES},
                                  {"tcp": {"reply": "count"}})}
TINY = merge(SMALL_LANES, {"journal": {"segment": "1MiB", "max_bytes": "4MiB", "block": "64KiB", "preallocate": 0}})
FILLER = b'{"device":"filler","text":"' + b"x" * 1000 + b'"}\n'


class Relay:
    """A port at which nothing listens until start(); from then on connections lead to another one."""

    def __init__(self, port, target):
        self.address, self.target, self.socket = f"127.0.0.1:{port}", ("127.0.0.1", target), None

    def start(self):
        self.socket = socket.create_server(("127.0.0.1", int(self.address.split(":")[1])))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.socket.accept()[0]
            except OSError:
                return
            server = socket.create_connection(self.target)
            for a, b in ((client, server), (server, client)):
                threading.Thread(target=self._copy, args=(a, b), daemon=True).start()

    @staticmethod
    def _copy(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def stop(self):
        if self.socket:
            self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


def kafka_behind(relay, topic):
    """The configuration of a Kafka sink that reaches its broker when the relay is started."""
    return {"stop": {"drain": "30s"}, "sinks": {"kafka": {
        "brokers": relay.address, "topic": topic, "backoff_max": "500ms", "properties": {"reconnect.backoff.max.ms": 200}}}}


def fill(gateway, timeout=30):
    """Sends lines until nothing is taken any more; returns how many were acknowledged."""
    with socket.create_connection(gateway.address("tcp"), timeout=0.5) as s:
        safe, sent = 0, 0
        while True:
            try:
                s.sendall(FILLER * 20)
                sent += 20
                while safe < sent:
                    safe = int(s.recv(4096).split()[-1])
            except TimeoutError:
                break
    wait_until(lambda: gateway.status("/readyz") == 503, timeout, "it tells that it is full")
    return safe


def coap_post(gateway, device="d1"):
    """(code, Max-Age) of a confirmable POST, by a real client."""
    import aiocoap

    async def run():
        context = await aiocoap.Context.create_client_context()
        try:
            request = aiocoap.Message(code=aiocoap.POST, payload=b'{"n":1}', content_format=50,
                                      uri=f"coap://127.0.0.1:{gateway.port('coap')}/t/{device}")
            answer = await asyncio.wait_for(context.request(request).response, 20)
            return answer.code.dotted, answer.opt.max_age
        finally:
            await context.shutdown()
    return asyncio.run(run())


def http_post(gateway, body=b"{}", path="/v1/telemetry/d1", kind="application/json"):
    import httpx

    return httpx.post(gateway.url(path), content=body, headers={"Content-Type": kind}, trust_env=False, timeout=20)
