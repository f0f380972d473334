"""Item 8: three times the capacity of the gateway, in two parts. In one its disk is made slow (test/bench/slow_sync.c), so that the
capacity is known and does not depend on the machine: a block for every sync. In the other its processor time is limited by a
cgroup (cpu_quota.py); where no cgroup is available the item says so, and only the slow disk is tested.

Checked while senders in an open loop offer three times the capacity on all four protocols:
- goodput: what is acknowledged is at least 90 % of the capacity measured with senders that wait for their answers; each listener is
  offered three times its own, since a message costs more on one than on another;
- memory: never above most_memory(), which follows from the configuration and the number of connections alone
  (docs/guarantees.md, "Under overload");
- latency of accepted messages: at most LATENCY_TIMES the time to write all lanes, full, to the disk, and the two blocks in progress
  before them; with little processor time, also the time to serve all messages in flight of the listener's senders, and the time for
  which the threads that a message passes are throttled;
- refused messages are answered 503 and 5.03; MQTT and TCP are not read (backpressure), which is counted;
- a flood on one listener leaves the others, at a tenth of the capacity, their p99 (P99_TIMES at most);
- nothing that was acknowledged is missing."""

import re
import time

from bounds import BLOCK, CONFIGURATION, LANE, LISTENERS, MIB, memory_bound, peak_memory
from cpu_quota import PERIOD_US, CpuQuota, NoCpuController
from harness import ROOT, wait_until
from sending import Sending, errors, p99_ms, target

NUMBER, TITLE = 8, "three times its capacity"
NEEDS = ()
FULL, BOUNDED = 1, 1

TIMES, GOODPUT, LATENCY_TIMES, P99_TIMES = 3, 0.9, 2, 2
SYNC_S = 0.02
SHARE = 0.2                                   # of a core, in the part with little processor time
THREADS_PASSED = 3                            # by a message: listener, journal, listener; each may just have used up its share
P99_MS = 4e3 * SYNC_S                         # a p99 below this is never too long
BOUNDED_GOODPUT, BOUNDED_P99_MS = 0.6, 250   # a few seconds on a busy machine say little
CONNECTIONS = {"mqtt": 20, "coap": 100, "tcp": 4, "http": 300}  # many where each has few messages in flight
WINDOWS = {"mqtt": 100, "coap": 4, "tcp": 500}                  # HTTP: one request

def longest_latency_s(metrics, before):
    """The time to write all lanes, full, and the two blocks before them: the one being written and the one being gathered."""
    name = "sluice_journal_commit_duration_seconds"
    commit = (metrics.sum(f"{name}_sum") - before.sum(f"{name}_sum")) / (metrics.sum(f"{name}_count") - before.sum(f"{name}_count"))
    return commit * (len(LISTENERS) * LANE / BLOCK + 2)


def targets(gateway, names=LISTENERS, rates=None):
    """Targets of sluice-load; rates: messages a second to each, where they differ."""
    return [target(gateway, name, connections=CONNECTIONS[name], **({"window": WINDOWS[name]} if name in WINDOWS else {}),
                   **({"rate": max(1, round(rates[name]))} if rates else {})) for name in names]


def ack_latency_s(metrics, before, quantile):
    """By listener: this quantile of the time to acknowledge, in seconds, interpolated in the histogram's buckets."""
    out = {}
    for name in LISTENERS:
        counts = []
        for key, value in metrics.items():
            if key.startswith("sluice_ack_duration_seconds_bucket") and f'listener="{name}"' in key:
                end = re.search(r'le="([^"]+)"', key).group(1)
                counts.append((float(end.replace("+Inf", "inf")), value - before.get(key, 0)))
        counts.sort()
        wanted, low, below = quantile * counts[-1][1], 0.0, 0.0
        for end, count in counts:
            if count >= wanted:
                out[name] = round(low + (end - low) * (wanted - below) / max(count - below, 1), 3)
                break
            low, below = end, count
    return out


def acknowledged(metrics, before, name):
    return metrics.sum("sluice_acknowledgements_total", listener=name) - before.sum("sluice_acknowledgements_total", listener=name)


def refused_or_delayed(metrics, before):
    """By listener: messages refused because it was full (CoAP, HTTP), times that reading was paused (MQTT, TCP)."""
    refused = {name: metrics.sum("sluice_messages_refused_total", listener=name, reason="full") -
               before.sum("sluice_messages_refused_total", listener=name, reason="full") for name in ("coap", "http")}
    delayed = {name: metrics.sum("sluice_backpressure_total", listener=name) - before.sum("sluice_backpressure_total", listener=name)
               for name in ("mqtt", "tcp")}
    return refused | delayed


def per_second(gateway, seconds):
    """Messages a second that the journal makes durable over the next seconds: exactly these are acknowledged. And those accepted, by
    listener."""
    def look():
        metrics = gateway.metrics()
        accepted = {name: metrics.sum("sluice_messages_accepted_total", listener=name) for name in LISTENERS}
        return metrics.sum("sluice_journal_records_total"), accepted, time.monotonic()
    count, accepted, since = look()
    time.sleep(seconds)
    more, later, now = look()
    return (more - count) / (now - since), {name: (later[name] - accepted[name]) / (now - since) for name in LISTENERS}


def measure_capacity(round_, gateway):
    """Messages a second while every sender waits for its answers: the sum, and by listener."""
    seconds = 2 if round_.bounded else 10
    sending = Sending(round_.dir, "closed", targets(gateway), "-t", f"{seconds + 1}s", "--grace", "1s")
    wait_until(lambda: gateway.metrics().sum("sluice_journal_records_total") > 2000, 20, "messages are acknowledged")
    rates = per_second(gateway, seconds)
    sending.finish()
    return rates


def overload(round_, gateway, capacity, by_listener, seconds, is_overloaded, processor_wait_s=lambda name, rate: 0.0):
    """capacity, by_listener: of measure_capacity(). is_overloaded(metrics before): whether the gateway shows that it is overloaded.
    processor_wait_s(listener, messages it acknowledges a second): how long a message waits for throttled threads, in addition to the
    disk."""
    before, since = gateway.metrics(), time.monotonic()
    offered = {name: TIMES * share for name, share in by_listener.items()}
    sending = Sending(round_.dir, "open", targets(gateway, rates=offered), "-t", f"{seconds + 1}s", "--grace", "1s", nice=5)
    wait_until(lambda: is_overloaded(before), 20, "it is overloaded")
    goodput, _ = per_second(gateway, seconds - 1)
    metrics, seconds = gateway.metrics(), time.monotonic() - since
    rates = {name: acknowledged(metrics, before, name) / seconds for name in LISTENERS}
    disk, latency = longest_latency_s(metrics, before), ack_latency_s(metrics, before, 0.99)
    limits = {name: LATENCY_TIMES * (disk + processor_wait_s(name, rates[name])) for name in LISTENERS}
    worst = max(LISTENERS, key=lambda name: latency[name] / limits[name])
    results = sending.finish(500)
    memory, reasons = peak_memory(gateway.pid), refused_or_delayed(gateway.metrics(), before)
    round_.note(f"capacity {capacity:.0f}/s; offered {TIMES * capacity:.0f}/s: {goodput:.0f}/s acknowledged ({goodput / capacity:.0%}), "
                f"memory {memory / MIB:.1f} MiB ({memory_bound(CONNECTIONS) / MIB:.1f} at most), p99 of accepted messages "
                f"{latency[worst]:.3f} s ({worst}, {limits[worst]:.2f} at most), refused or delayed {reasons}")
    round_.check(goodput >= (BOUNDED_GOODPUT if round_.bounded else GOODPUT) * capacity, f"{goodput:.0f}/s of {capacity:.0f}/s")
    round_.check(memory <= memory_bound(CONNECTIONS), f"{memory / MIB:.1f} MiB, and {memory_bound(CONNECTIONS) / MIB:.1f} at most")
    round_.check(latency[worst] <= limits[worst], f"p99 by listener {latency}, at most {limits}")
    round_.check(not errors(results, "busy"), f"errors: {errors(results)}")
    return ["open"]


def flood(round_, gateway, capacity, name):
    """One listener is offered three times the capacity of the gateway; the others a tenth each."""
    others = [other for other in LISTENERS if other != name]

    def calm(run):
        return Sending(round_.dir, run, targets(gateway, others), "-r", str(int(0.1 * capacity)), "-t",
                       "1500ms" if round_.bounded else "20s", "--warmup", "500ms").finish()

    alone = calm(f"alone-{name}")
    flooding = Sending(round_.dir, f"flood-{name}", targets(gateway, [name]), "-r", str(int(TIMES * capacity)), "-t",
                       "3s" if round_.bounded else "22s", "--grace", "1s", nice=5)
    try:
        beside = calm(f"beside-{name}")
    finally:
        results = flooding.finish(200)
    for other in others:
        quiet, loud = p99_ms(alone, other), p99_ms(beside, other)
        round_.note(f"{name} flooded with {TIMES * capacity:.0f}/s: {other} p99 {quiet:.0f} -> {loud:.0f} ms")
        round_.check(loud <= max(P99_TIMES * quiet, BOUNDED_P99_MS if round_.bounded else P99_MS), f"{other}: p99 {loud:.0f} ms beside a flood of {name}, {quiet:.0f} without")
    round_.check(not errors(beside) and not errors(results, "busy"), f"errors: {errors(beside)} {errors(results)}")
    return [f"alone-{name}", f"flood-{name}", f"beside-{name}"]


def slow_disk(round_):
    preload = ROOT / "build" / "test" / "bench" / "slow_sync.so"
    round_.check(preload.exists(), f"{preload} is not there: make build/test/bench/slow_sync.so")
    gateway = round_.start(CONFIGURATION, env={"LD_PRELOAD": str(preload), "SLOW_SYNC_US": str(int(SYNC_S * 1e6))})
    capacity, by_listener = measure_capacity(round_, gateway)

    def every_listener_reports(before):
        return all(refused_or_delayed(gateway.metrics(), before).values())

    runs = ["closed", *overload(round_, gateway, capacity, by_listener, 3 if round_.bounded else 300, every_listener_reports)]
    for name in [round_.rng.choice(LISTENERS)] if round_.bounded else LISTENERS:
        runs += flood(round_, gateway, capacity, name)
    return runs


def little_processor_time(round_):
    gateway = round_.start(CONFIGURATION)
    try:
        with CpuQuota(gateway.pid, SHARE) as cpu_quota:
            capacity, by_listener = measure_capacity(round_, gateway)
            throttled_before = cpu_quota.throttled()[0]
            runs = ["closed", *overload(round_, gateway, capacity, by_listener, 3 if round_.bounded else 60, lambda _: cpu_quota.throttled()[0] > throttled_before,
                                        lambda name, rate: CONNECTIONS[name] * WINDOWS.get(name, 1) / rate + THREADS_PASSED * (1 - SHARE) * PERIOD_US / 1e6)]
            round_.note("{}, {:.0%} of a core: throttled in {} of {} periods".format(cpu_quota.version, SHARE, *cpu_quota.throttled()))
    except NoCpuController as error:
        round_.note(f"processor time is not limited: {error}")
        return []
    return runs


def run(round_):
    round_.run_part(slow_disk)
    round_.run_part(little_processor_time)
