"""Item 6: the network. The gateway runs in a network namespace of its own at the other end of a pair of interfaces, and the way
between is cut by nftables: packets vanish (drop), are answered by resets and unreachables (reject), or are lost one in so many
(a random drop in both directions: loss, repetition, delay). Devices connect again and send again what was not acknowledged. Half-open
connections that the cut leaves behind must go, and descriptors with them.

Two parts need no namespace. mute: clients that never read (mutes.py) are no longer read themselves, are closed by the time-out that
the configuration names, and cost no more than docs/guarantees.md says, while others work on. reset: connections are reset after
every single byte of a message (resets.py); what was acknowledged before is there, what was not whole is not."""

import os
import time

from bounds import CONFIGURATION, MIB, most_memory, peak_memory
from harness import merge, wait_until
from mutes import KINDS, Mutes
from resets import compare, resets
from sending import Sending, errors, p99_ms, target
from space import LISTENERS, Space

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
    for part in (mute, reset) if trial.bounded else (cut, mute, reset):
        trial.part(part)
