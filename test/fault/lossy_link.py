"""A long and bad way to a listener: what is sent takes its time, in both directions. Over TCP it comes in order and in pieces of any
size; datagrams overtake each other, are lost, and come twice."""

import asyncio
import random
import threading
import time

DELAY = (0.02, 0.2)  # seconds, one way
LOST, TWICE = 0.05, 0.1  # of the datagrams, each way
PIECE = 700  # bytes at most


class Far:
    """Ways to listeners; .to(address, datagrams) opens one and returns the port (on 127.0.0.1) at its near end. counts: what happened
    on it."""

    def __init__(self, seed):
        self._chance, self._loop, self._servers = random.Random(seed), asyncio.new_event_loop(), []
        self.counts = {"pieces": 0, "datagrams": 0, "lost": 0, "twice": 0}
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def to(self, address, datagrams=False):
        async def open_way():
            if datagrams:
                transport, _ = await self._loop.create_datagram_endpoint(lambda: _Near(self, address), ("127.0.0.1", 0))
                self._servers.append(transport)
                return transport.get_extra_info("sockname")[1]
            server = await asyncio.start_server(lambda r, w: self._connected(r, w, address), "127.0.0.1", 0)
            self._servers.append(server)
            return server.sockets[0].getsockname()[1]
        return asyncio.run_coroutine_threadsafe(open_way(), self._loop).result(10)

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
        far_reader, far_writer = await asyncio.open_connection(*address)
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader, writer):
        on_the_way = asyncio.Queue()
        arriving = asyncio.ensure_future(self._arrive(on_the_way, writer))
        try:
            while data := await reader.read(65536):
                while data:
                    size = self._chance.randint(1, PIECE)
                    self.counts["pieces"] += 1
                    on_the_way.put_nowait((time.monotonic() + self._chance.uniform(*DELAY), data[:size]))
                    data = data[size:]
        except OSError:
            pass
        on_the_way.put_nowait((0, b""))
        await arriving

    @staticmethod
    async def _arrive(on_the_way, writer):
        while True:
            due, data = await on_the_way.get()
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

    def carry(self, data, send):
        """Has send(data) called once, twice or never, later."""
        self.counts["datagrams"] += 1
        if self._chance.random() < LOST:
            self.counts["lost"] += 1
            return
        times = 1 + (self._chance.random() < TWICE)
        self.counts["twice"] += times - 1
        for _ in range(times):
            self._loop.call_later(self._chance.uniform(*DELAY), send, data)


class _Near(asyncio.DatagramProtocol):
    """The near end: each sender gets a socket of its own at the far one, as behind a router."""

    def __init__(self, way, address):
        self._way, self._address, self._senders = way, address, {}

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, sender):
        opening = self._senders.get(sender)
        if not opening:
            loop = asyncio.get_running_loop()
            opening = self._senders[sender] = asyncio.ensure_future(
                loop.create_datagram_endpoint(lambda: _Back(self, sender), remote_addr=self._address))
        opening.add_done_callback(lambda done: self._way.carry(data, done.result()[0].sendto))


class _Back(asyncio.DatagramProtocol):
    """What comes back to one sender."""

    def __init__(self, near, sender):
        self._near, self._sender = near, sender

    def datagram_received(self, data, _):
        self._near._way.carry(data, lambda d: self._near.transport.sendto(d, self._sender))
