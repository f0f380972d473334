"""Item 6: the network. The gateway runs in a network namespace of its own at the other end of a pair of interfaces, and the way
between is cut by nftables: packets vanish (drop), are answered by resets and unreachables (reject), or are lost one in so many
(a random drop in both directions: loss, repetition, delay). Devices connect again and send again what was not acknowledged. Half-open
connections that the cut leaves behind must go, and descriptors with them.

Three parts need no namespace. far: all devices come over a long and bad way (far.py: delay, pieces, and loss, repetition and overtaking
of datagrams); nobody gives up, and every message is there exactly once, among them CoAP bodies in blocks. mute: clients that never read (mutes.py) are no longer read themselves, are closed by the time-out that
the configuration names, and cost no more than docs/guarantees.md says, while others work on. reset: connections are reset after
every single byte of a message (resets.py); what was acknowledged before is there, what was not whole is not."""

import asyncio
import json
import os
import time

import aiocoap
from bounds import CONFIGURATION, MIB, most_memory, peak_memory
from lossy_link import Far
from harness import merge, wait_until
from nonreading_clients import KINDS, Mutes
from resets import compare, resets
from sending import Sending, errors, p99_ms, target
from network_namespace import LISTENERS, Space

NUMBER, TITLE = 6, "partitions, loss, resets, mutes"
NEEDS = ()
FULL, BOUNDED = 6, 1
RULES = {"drop": "ip protocol { tcp, udp } drop", "reject": "meta l4proto tcp reject with tcp reset",
         "loss": "ip protocol { tcp, udp } numgen random mod 100 < 20 drop"}


def descriptors(gateway):
    return len(os.listdir(f"/proc/{gateway.pid}/fd"))


def cut(trial):
    space = Space(trial.chance.randrange(10000))
    try:
        gateway = trial.start(merge(space.listeners(), {"listeners": {"http": {"idle_timeout": "5s"}}}),
                              program=space.program(trial.program, trial.dir / "inside"))
        before = descriptors(gateway)
        load = Sending(trial.dir, "cut", [target(gateway, name, connections=5) for name in LISTENERS], "-r", "400", "-t", "14s")
        wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 0, 20, "messages are accepted")
        most = 0
        for kind in trial.chance.sample(sorted(RULES), len(RULES)):
            time.sleep(trial.chance.uniform(0.5, 1.5))
            space.filter(RULES[kind])
            trial.note(kind)
            time.sleep(trial.chance.uniform(0.5, 2.5))
            space.filter(None)
            began = time.monotonic()
            taken = gateway.metrics().sum("sluice_messages_accepted_total")
            wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > taken or not load.running(), 60,
                       "messages come again")
            trial.recovered(time.monotonic() - began)
            most = max(most, descriptors(gateway))
        load.finish(timeout=180)
        wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
        trial.note(f"descriptors {before} before, {most} at most")
        trial.must(most < before + 200, f"{most} descriptors: connections that are gone are not closed")
        wrong = gateway.finish()
        trial.must(not wrong, wrong)
    finally:
        if trial.gateway and trial.gateway.running():
            trial.gateway.finish()
        space.close()
    return ["cut"]


async def in_blocks(port, count, size):
    """A third party's client posts bodies that take several blocks (RFC 7959); returns the numbers of those that it was told to be safe, and the code where it was told something else."""
    client = await aiocoap.Context.create_client_context()
    few = asyncio.Semaphore(4)  # blocks_per_peer

    async def post(n):  # each to its own resource: two bodies for one, side by side, are what RFC 7959 cannot tell apart
        uri = f"coap://127.0.0.1:{port}/t/blocks-{n}"
        body = json.dumps({"block": n, "pad": "x" * size}).encode()
        async with few:
            answer = await client.request(aiocoap.Message(code=aiocoap.POST, uri=uri, payload=body)).response
        return n if answer.code == aiocoap.CHANGED else str(answer.code)
    try:
        return await asyncio.gather(*(post(n) for n in range(count)))
    finally:
        await client.shutdown()


def far(trial):
    gateway = trial.start({})
    way = Far(trial.chance.random())
    try:
        ports = {name: way.to(gateway.address(name), name == "coap") for name in LISTENERS}
        load = Sending(trial.dir, "far", [f"{name}://127.0.0.1:{ports[name]}#connections={5 if trial.bounded else 20}" +
                                          (",qos=2" if name == "mqtt" else "") for name in LISTENERS],
                       "-r", "60" if trial.bounded else "200", "-t", "3s" if trial.bounded else "15s", "--grace", "60s")
        blocks = 2 if trial.bounded else 10
        safe = asyncio.run(in_blocks(ports["coap"], blocks, 4000))
        found = load.finish()
    finally:
        way.close()
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
    trial.note(f"far: {way.counts}, p99 {p99_ms(found):.0f} ms, {sum(r['resent'] for r in found.values())} sent again")
    records = gateway.records()
    sent, told = (sum(r[what] for r in found.values()) for what in ("sent", "acknowledged"))
    there = sorted(record["payload"]["block"] for record in records if "block" in record["payload"])
    trial.must(safe == there == list(range(blocks)), f"bodies in blocks: safe {safe}, there {there}")
    # A device gives up after the fourth repetition (RFC 7252, section 4.8), and does not know then whether its message came.
    trial.must(told <= len(records) - blocks <= sent, f"{sent} messages were sent, {told} acknowledged, and {len(records) - blocks} are there")
    open_ones = {name: r["unacknowledged"] for name, r in found.items() if name != "coap" and r["unacknowledged"]}
    trial.must(not open_ones, f"no answer: {open_ones}")
    trial.must(not errors(found, "timeout"), f"errors: {errors(found)}")
    return ["far"]


SLACK = 8          # descriptors that come and go with the journal's segments and the file
OTHERS = 4         # connections of each protocol that behave
LATEST_MS = 1000   # p99 of those, beside mutes; alone it is some milliseconds
# Short, so that a round need not wait for long; what ends a connection is what matters.
SHORT = {"listeners": {"mqtt": {"stall_timeout": "1s", "idle_timeout": "2s"},
                       "tcp": {"stall_timeout": "1s", "idle_timeout": "2s", "reply": "count"},
                       "http": {"request_timeout": "1s", "idle_timeout": "2s"}}}


def others(trial, gateway, name, seconds):
    return Sending(trial.dir, name, [target(gateway, listener) for listener in LISTENERS], "-c", str(OTHERS), "-r", "100", "-t", f"{seconds}s")


def none_left(trial, gateway, before, but=0):
    """Connections and descriptors are what they were."""
    wait_until(lambda: gateway.metrics().sum("sluice_connections") == but, 30, "the connections are gone")
    wait_until(lambda: descriptors(gateway) <= before + but + SLACK, 10, f"the descriptors are gone, of {before} before")


def mute(trial):
    each, most_bytes = (2, {"QoS 1 PUBLISHes": 1 * MIB}) if trial.bounded else (30, {})
    gateway = trial.start(merge(CONFIGURATION, SHORT))
    before = descriptors(gateway)
    with Mutes(gateway, each, most_bytes) as mutes:
        found = others(trial, gateway, "beside", 2 if trial.bounded else 20).finish()
        none_left(trial, gateway, before)
    for kind, count, sent, ages, everything in mutes.told():
        closed = f"closed after {min(ages):.1f} to {max(ages):.1f} s" if ages else "closed"
        trial.note(f"{count} that never read, {kind}: {sent / MIB:.2f} MiB of one at most were read, {closed}")
        trial.must(not everything or kind in most_bytes or KINDS[kind].ends, f"{kind}: all {sent} bytes of one that reads no answer were read")
    memory = peak_memory(gateway.pid)
    most = most_memory({name: OTHERS + mutes.count(name) for name in LISTENERS})
    trial.note(f"memory {memory / MIB:.1f} MiB ({most / MIB:.1f} at most), p99 of the others {p99_ms(found):.0f} ms")
    trial.must(memory <= most, f"{memory / MIB:.1f} MiB, and {most / MIB:.1f} at most")
    trial.must(not errors(found), f"errors: {errors(found)}")
    trial.must(trial.bounded or p99_ms(found) <= LATEST_MS, f"p99 of the others is {p99_ms(found):.0f} ms")
    return ["beside", last(trial, gateway)]


def reset(trial):
    gateway = trial.start({})
    before = descriptors(gateway)
    load = others(trial, gateway, "beside", 3 if trial.bounded else 10)
    outcomes = resets(gateway, trial.chance, every=3 if trial.bounded else 1)
    trial.must(not errors(load.finish()), "errors of connections that were not reset")
    none_left(trial, gateway, before)
    name = last(trial, gateway)
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
    wrong, there = compare(outcomes, gateway.records())
    told = sum(len(o.told) for o in outcomes.values())
    whole = sum(len(o.whole) for o in outcomes.values())
    trial.note(f"{len(outcomes)} connections reset: {whole} messages were whole, {told} acknowledged, {there} are there")
    trial.must(not wrong, "; ".join(wrong[:5]))
    return ["beside", name]


def last(trial, gateway):
    """It serves as before."""
    trial.must(not errors(others(trial, gateway, "last", 1).finish()), "errors when it was over")
    return "last"


def play(trial):
    for part in (far, mute, reset) if trial.bounded else (cut, far, mute, reset):
        trial.part(part)
