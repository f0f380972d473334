"""Item 6: the network. The gateway runs in its own network namespace at the other end of a veth pair, and nftables cuts the
link: packets are dropped (drop), answered by resets and unreachables (reject), or dropped at random (loss: one in five, in both
directions). Devices reconnect and resend what was not acknowledged. Half-open connections that the cut leaves behind must be closed,
and their descriptors with them.

Three parts need no namespace. lossy_link: all devices use a slow, lossy link (lossy_link.py: delay, pieces, and loss, duplication and
reordering of datagrams); no device gives up, and every message is there exactly once, among them CoAP bodies in blocks. nonreading:
clients that never read (nonreading_clients.py) are no longer read themselves, are closed by the time-out that the configuration names,
and cost no more than docs/guarantees.md says, while other clients continue. reset: connections are reset after every single byte of a
message (resets.py); what was acknowledged before is there, what was incomplete is not."""

import asyncio
import json
import os
import time

import aiocoap
from bounds import CONFIGURATION, MIB, memory_bound, peak_memory
from harness import merge, wait_until
from lossy_link import LossyLink
from network_namespace import LISTENERS, NetworkNamespace
from nonreading_clients import KINDS, NonreadingClients
from resets import compare, resets
from sending import Sending, errors, p99_ms, target

NUMBER, TITLE = 6, "partitions, loss, resets, non-reading clients"
NEEDS = ()
FULL, BOUNDED = 6, 1
RULES = {"drop": "ip protocol { tcp, udp } drop", "reject": "meta l4proto tcp reject with tcp reset",
         "loss": "ip protocol { tcp, udp } numgen random mod 100 < 20 drop"}


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


def cut(round_):
    namespace = NetworkNamespace(round_.rng.randrange(10000))
    try:
        gateway = round_.start(merge(namespace.listeners(), {"listeners": {"http": {"idle_timeout": "5s"}}}),
                               program=namespace.program(round_.program, round_.dir / "inside"))
        before = descriptors(gateway)
        load = Sending(round_.dir, "cut", [target(gateway, name, connections=5) for name in LISTENERS], "-r", "400", "-t", "14s")
        wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 0, 20, "messages are accepted")
        most = 0
        for kind in round_.rng.sample(sorted(RULES), len(RULES)):
            time.sleep(round_.rng.uniform(0.5, 1.5))
            namespace.filter(RULES[kind])
            round_.note(kind)
            time.sleep(round_.rng.uniform(0.5, 2.5))
            namespace.filter(None)
            began = time.monotonic()
            accepted = gateway.metrics().sum("sluice_messages_accepted_total")
            wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > accepted or not load.running(), 60,
                       "messages come again")
            round_.recovered(time.monotonic() - began)
            most = max(most, descriptors(gateway))
        load.finish(timeout=180)
        wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
        round_.note(f"descriptors {before} before, {most} at most")
        round_.check(most < before + 200, f"{most} descriptors: connections that are gone are not closed")
        wrong = gateway.finish()
        round_.check(not wrong, wrong)
    finally:
        if round_.gateway and round_.gateway.running():
            round_.gateway.finish()
        namespace.close()
    return ["cut"]


async def post_in_blocks(port, count, size):
    """A third-party client posts bodies that take several blocks (RFC 7959); returns the numbers of those that were acknowledged, and the code
    of any other answer."""
    client = await aiocoap.Context.create_client_context()
    at_once = asyncio.Semaphore(4)  # blocks_per_peer

    async def post(n):  # each to its own resource: RFC 7959 cannot tell apart two bodies sent to one resource at once
        uri = f"coap://127.0.0.1:{port}/t/blocks-{n}"
        body = json.dumps({"block": n, "pad": "x" * size}).encode()
        async with at_once:
            answer = await client.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=body)).response
        return n if answer.code == aiocoap.CHANGED else str(answer.code)
    try:
        return await asyncio.gather(*(post(n) for n in range(count)))
    finally:
        await client.shutdown()


def lossy_link(round_):
    gateway = round_.start({})
    link = LossyLink(round_.rng.random())
    try:
        ports = {name: link.open(gateway.address(name), name == "coap") for name in LISTENERS}
        load = Sending(round_.dir, "lossy", [f"{name}://127.0.0.1:{ports[name]}#connections={5 if round_.bounded else 20}" +
                                             (",qos=2" if name == "mqtt" else "") for name in LISTENERS],
                       "-r", "60" if round_.bounded else "200", "-t", "3s" if round_.bounded else "15s", "--grace", "60s")
        blocks = 2 if round_.bounded else 10
        safe = asyncio.run(post_in_blocks(ports["coap"], blocks, 4000))
        found = load.finish()
    finally:
        link.close()
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
    round_.note(f"lossy link: {link.counts}, p99 {p99_ms(found):.0f} ms, {sum(r['resent'] for r in found.values())} sent again")
    records = gateway.records()
    sent, acknowledged = (sum(r[what] for r in found.values()) for what in ("sent", "acknowledged"))
    delivered = sorted(record["payload"]["block"] for record in records if "block" in record["payload"])
    round_.check(safe == delivered == list(range(blocks)), f"bodies in blocks: safe {safe}, there {delivered}")
    # A device gives up after the fourth retransmission (RFC 7252, section 4.8), and does not know then whether its message arrived.
    round_.check(acknowledged <= len(records) - blocks <= sent, f"{sent} messages were sent, {acknowledged} acknowledged, and {len(records) - blocks} are there")
    unanswered = {name: r["unacknowledged"] for name, r in found.items() if name != "coap" and r["unacknowledged"]}
    round_.check(not unanswered, f"no answer: {unanswered}")
    round_.check(not errors(found, "timeout"), f"errors: {errors(found)}")
    return ["lossy"]


SLACK = 8          # descriptors that come and go with the journal's segments and the file
BESIDE = 4         # well-behaved connections of each protocol
LATEST_MS = 1000   # p99 of those, beside non-reading clients; alone it is some milliseconds
# Short, so that a round does not wait long; which time-out closes a connection is what matters.
SHORT = {"listeners": {"mqtt": {"stall_timeout": "1s", "idle_timeout": "2s"},
                       "tcp": {"stall_timeout": "1s", "idle_timeout": "2s", "reply": "count"},
                       "http": {"request_timeout": "1s", "idle_timeout": "2s"}}}


def send_beside(round_, gateway, name, seconds):
    return Sending(round_.dir, name, [target(gateway, listener) for listener in LISTENERS], "-c", str(BESIDE), "-r", "100", "-t", f"{seconds}s")


def none_left(round_, gateway, before, but=0):
    """Connections and descriptors are as many as before."""
    wait_until(lambda: gateway.metrics().sum("sluice_connections") == but, 30, "the connections are gone")
    wait_until(lambda: descriptors(gateway) <= before + but + SLACK, 10, f"the descriptors are gone, of {before} before")


def nonreading(round_):
    each, most_bytes = (2, {"QoS 1 PUBLISHes": 1 * MIB}) if round_.bounded else (30, {})
    gateway = round_.start(merge(CONFIGURATION, SHORT))
    before = descriptors(gateway)
    with NonreadingClients(gateway, each, most_bytes) as clients:
        found = send_beside(round_, gateway, "beside", 2 if round_.bounded else 20).finish()
        none_left(round_, gateway, before)
    for kind, count, sent, lifetimes, everything in clients.results():
        closed = f"closed after {min(lifetimes):.1f} to {max(lifetimes):.1f} s" if lifetimes else "closed"
        round_.note(f"{count} non-reading clients, {kind}: {sent / MIB:.2f} MiB read of one at most, {closed}")
        round_.check(not everything or kind in most_bytes or KINDS[kind].may_finish, f"{kind}: the gateway read all {sent} bytes of a client that reads no answer")
    memory = peak_memory(gateway.pid)
    most = memory_bound({name: BESIDE + clients.count(name) for name in LISTENERS})
    round_.note(f"memory {memory / MIB:.1f} MiB ({most / MIB:.1f} at most), p99 of other clients {p99_ms(found):.0f} ms")
    round_.check(memory <= most, f"{memory / MIB:.1f} MiB, and {most / MIB:.1f} at most")
    round_.check(not errors(found), f"errors: {errors(found)}")
    round_.check(round_.bounded or p99_ms(found) <= LATEST_MS, f"p99 of other clients is {p99_ms(found):.0f} ms")
    return ["beside", serves_as_before(round_, gateway)]


def reset(round_):
    gateway = round_.start({})
    before = descriptors(gateway)
    load = send_beside(round_, gateway, "beside", 3 if round_.bounded else 10)
    outcomes = resets(gateway, round_.rng, every=3 if round_.bounded else 1)
    round_.check(not errors(load.finish()), "errors of connections that were not reset")
    none_left(round_, gateway, before)
    name = serves_as_before(round_, gateway)
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
    wrong, delivered = compare(outcomes, gateway.records())
    acknowledged = sum(len(o.acknowledged) for o in outcomes.values())
    complete = sum(len(o.complete) for o in outcomes.values())
    round_.note(f"{len(outcomes)} connections reset: {complete} messages were complete, {acknowledged} acknowledged, {delivered} are there")
    round_.check(not wrong, "; ".join(wrong[:5]))
    return ["beside", name]


def serves_as_before(round_, gateway):
    """Other clients are served as before."""
    round_.check(not errors(send_beside(round_, gateway, "last", 1).finish()), "errors after the faults")
    return "last"


def run(round_):
    for part in (lossy_link, nonreading, reset) if round_.bounded else (cut, lossy_link, nonreading, reset):
        round_.run_part(part)
