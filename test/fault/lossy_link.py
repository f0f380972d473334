"""A slow, lossy link to a listener: data is delayed in both directions. TCP data arrives in order, in pieces of any size; datagrams
are reordered, lost and duplicated."""

import asyncio
import random
import threading
import time

DELAY = (0.02, 0.2)  # seconds, one way
LOSS, DUPLICATION = 0.05, 0.1  # of the datagrams, each way
PIECE_MAX = 700  # bytes at most


class LossyLink:
    """Links to listeners; .open(address, datagrams) opens one and returns the port on 127.0.0.1 that clients use. .counts: pieces of TCP
    data, datagrams, datagrams lost and duplicated."""

    def __init__(self, seed):
        self._rng, self._loop, self._servers = random.Random(seed), asyncio.new_event_loop(), []
        self.counts = {"pieces": 0, "datagrams": 0, "lost": 0, "duplicated": 0}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def open(self, address, datagrams=False):
        async def open_port():
            if datagrams:
                transport, _ = await self._loop.create_datagram_endpoint(lambda: _ClientSide(self, address), ("127.0.0.1", 0))
                self._servers.append(transport)
                return transport.get_extra_info("sockname")[1]
            server = await asyncio.start_server(lambda r, w: self._connected(r, w, address), "127.0.0.1", 0)
            self._servers.append(server)
            return server.sockets[0].getsockname()[1]
        return asyncio.run_coroutine_threadsafe(open_port(), self._loop).result(10)

    def close(self):
        async def end():
            for server in self._servers:
                server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
        asyncio.run_coroutine_threadsafe(end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    # -- connections

    async def _connected(self, reader, writer, address):
        server_reader, server_writer = await asyncio.open_connection(*address)
        await asyncio.gather(self._forward(reader, server_writer), self._forward(server_reader, writer))

    async def _forward(self, reader, writer):
        in_transit = asyncio.Queue()
        writing = asyncio.ensure_future(self._write_when_due(in_transit, writer))
        try:
            while data := await reader.read(65536):
                while data:
                    size = self._rng.randint(1, PIECE_MAX)
                    self.counts["pieces"] += 1
                    in_transit.put_nowait((time.monotonic() + self._rng.uniform(*DELAY), data[:size]))
                    data = data[size:]
        except OSError:
            pass
        in_transit.put_nowait((0, b""))
        await writing

    @staticmethod
    async def _write_when_due(in_transit, writer):
        while True:
            due, data = await in_transit.get()
            if not data:
                break
            await asyncio.sleep(max(0, due - time.monotonic()))
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                break
        writer.close()

    # -- datagrams

    def deliver(self, data, send):
        """Calls send(data) later: once, twice or never."""
        self.counts["datagrams"] += 1
        if self._rng.random() < LOSS:
            self.counts["lost"] += 1
            return
        copies = 1 + (self._rng.random() < DUPLICATION)
        self.counts["duplicated"] += copies - 1
        for _ in range(copies):
            self._loop.call_later(self._rng.uniform(*DELAY), send, data)


class _ClientSide(asyncio.DatagramProtocol):
    """Where clients send to: each sender gets its own socket towards the listener, as behind a NAT."""

    def __init__(self, link, address):
        self._link, self._address, self._senders = link, address, {}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        endpoint = self._senders.get(sender)
        if not endpoint:
            loop = asyncio.get_running_loop()
            endpoint = self._senders[sender] = asyncio.ensure_future(
                loop.create_datagram_endpoint(lambda: _ReturnPath(self, sender), remote_addr=self._address))
        endpoint.add_done_callback(lambda done: self._link.deliver(data, done.result()[0].sendto))


class _ReturnPath(asyncio.DatagramProtocol):
    """Answers of the listener to one sender."""

    def __init__(self, client_side, sender):
        self._client_side, self._sender = client_side, sender

    def datagram_received(self, data, _):
        self._client_side._link.deliver(data, lambda d: self._client_side.transport.sendto(d, self._sender))
