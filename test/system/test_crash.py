"""The promise under kill -9: what was acknowledged is in every sink, and what was sent once is there once.

SLUICE_CRASH_ROUNDS (5) is the number of crashes, SLUICE_CRASH_SEED repeats a run's moments; the seed is printed."""

import collections
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import time
import uuid

from conftest import merge, wait_until
from numbered import fleet

ROUNDS = int(os.environ.get("SLUICE_CRASH_ROUNDS", "5"))
SEED = int(os.environ.get("SLUICE_CRASH_SEED", random.randrange(1 << 32)))

# Small segments and lanes, so that a few megabytes of traffic take the journal through many segments.
SMALL_JOURNAL = {
    "journal": {"segment": "1MiB", "block": "256KiB", "tail_memory": "256KiB"},
    "listeners": {name: {"lane": "256KiB", "max_payload": "16KiB"} for name in ("mqtt", "coap", "tcp", "http")},
}


def small_journal(**sinks):
    return merge(SMALL_JOURNAL, {"listeners": {"tcp": {"reply": "count"}}, "sinks": sinks})


def key(record):
    return record["device"]["id"], record["payload"]["n"]


def acknowledged(devices):
    return sum(len(device.acked) for device in devices)


def expected(devices):
    """(all acknowledged, times each was sent) by (device, number)."""
    sends = {(d.device, n): count for d in devices for n, count in d.sends.items()}
    return {(d.device, n) for d in devices for n in d.acked}, sends


def complete(have, devices, where):
    """Nothing acknowledged is missing, and nothing is there that was not sent."""
    wanted, sends = expected(devices)
    missing = wanted - have.keys()
    assert not missing, f"{where}: {len(missing)} of {len(wanted)} acknowledged messages are missing: " \
        f"{sorted(missing)[:5]} (seed {SEED})"
    assert not have.keys() - sends.keys(), f"{where}: {sorted(have.keys() - sends.keys())[:5]} were never sent"


def once_per_send(have, devices, where):
    _, sends = expected(devices)
    more = {k: (count, sends[k]) for k, count in have.items() if count > sends[k]}
    assert not more, f"{where}: {len(more)} messages are there more often than they were sent: " \
        f"{dict(list(more.items())[:5])} (there, sent; seed {SEED})"


def in_order(records, devices):
    """The first copies of what one connection sent stand in the order of sending. Not so for datagrams."""
    seen, last = set(), collections.defaultdict(lambda: -1)
    ordered = {d.device for d in devices if d.protocol != "coap"}
    for record in records:
        k = device, n = key(record)
        if k in seen or device not in ordered:
            continue
        seen.add(k)
        assert n == last[device] + 1, f"{device}: {n} comes behind {last[device]} (seed {SEED})"
        last[device] = n


def kill(gateway):
    gateway.kill()
    gateway.crashes = getattr(gateway, "crashes", 0) + 1


def crash_at_random(gateway, devices, chance):
    """Lets some hundreds be acknowledged, then kills it in the middle of whatever it does."""
    goal = acknowledged(devices) + chance.randrange(300, 3000)
    wait_until(lambda: acknowledged(devices) >= goal or any(d.errors for d in devices), 120,
               "messages are acknowledged", every=0.001)
    time.sleep(chance.uniform(0, 0.02))
    kill(gateway)


def start_again(gateway, chance):
    """Some starts are killed, too, at any moment of the recovery."""
    while chance.random() < 0.5:
        gateway.start(wait=None)
        time.sleep(chance.choice([chance.uniform(0, 0.03), chance.uniform(0, 0.3)]))
        kill(gateway)
    gateway.start()


def start(devices):
    print(f"SLUICE_CRASH_SEED={SEED}")
    for device in devices:
        device.start()
    return random.Random(SEED)


def finish(devices):
    for device in devices:
        device.finish(60)
        assert not device.errors, f"{device.device}: {device.errors[:3]}"
        assert device.acked == set(range(len(device.sends))), device.device


def crash_rounds(gateway, devices, rounds):
    chance = start(devices)
    for _ in range(rounds):
        crash_at_random(gateway, devices, chance)
        start_again(gateway, chance)
    finish(devices)


def all_in_file(gateway):
    """The records of the file, once it has all. Each crash may have left half a line."""
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records", type="file") == 0, 120, "the file has all")
    records, broken = [], 0
    for line in gateway.file.read_bytes().split(b"\n")[:-1]:
        try:
            records.append(json.loads(line))
        except ValueError:
            broken += 1
    assert broken <= gateway.crashes, f"{broken} broken lines after {gateway.crashes} crashes"
    return records


def in_topic(kafka, topic, wanted):
    """What is in the topic, once all that is wanted is."""
    have, read = collections.Counter(), 0

    def enough(messages):
        nonlocal read
        have.update(key(json.loads(m.value())) for m in messages[read:])
        read = len(messages)
        return wanted <= have.keys()
    with contextlib.suppress(AssertionError):  # complete() tells what is missing
        kafka.consume(topic, enough, 180)
    return have


def test_nothing_acknowledged_is_lost_over_crashes(sluice, kafka, search):
    name = f"crash-{uuid.uuid4().hex[:8]}"
    kafka.create_topic(name)
    gateway = sluice(small_journal(kafka={"brokers": kafka.bootstrap, "topic": name},
                                   elasticsearch={"nodes": search.url, "index": name}))
    devices = fleet(gateway, rate=400)
    crash_rounds(gateway, devices, ROUNDS)
    wanted, _ = expected(devices)

    records = all_in_file(gateway)
    complete(collections.Counter(map(key, records)), devices, "file")
    in_order(records, devices)

    def everywhere():
        m = gateway.metrics()
        return m.sum("sluice_sink_lag_records") == 0 and m.sum("sluice_journal_lost_records_total") == 0
    wait_until(everywhere, 180, "all sinks have everything")
    complete(in_topic(kafka, name, wanted), devices, "Kafka")
    documents = collections.Counter(key(hit["_source"]) for hit in search.documents(name))
    complete(documents, devices, "Elasticsearch")
    once_per_send(documents, devices, "Elasticsearch")
    assert "damage" not in gateway.log(), "kill -9 tears at most the last block"
    assert gateway.metrics().sum("sluice_sink_dead_records_total") == 0
    assert gateway.stop() == 0


def test_nothing_acknowledged_is_lost_when_it_is_killed_again_and_again_at_start(sluice):
    gateway = sluice(small_journal())
    devices = fleet(gateway)
    chance = start(devices)
    crash_at_random(gateway, devices, chance)
    for _ in range(25):
        gateway.start(wait=None)
        time.sleep(chance.uniform(0, 0.1))
        kill(gateway)
    gateway.start()
    finish(devices)
    complete(collections.Counter(map(key, all_in_file(gateway))), devices, "file")
    assert "damage" not in gateway.log()
    assert gateway.stop() == 0


def test_a_first_start_that_was_killed_is_followed_by_one_that_works(sluice):
    """At any moment: before the directory is there, between its files, in the middle of one."""
    gateway = sluice(small_journal(), start=False)
    chance = random.Random(SEED)
    print(f"SLUICE_CRASH_SEED={SEED}")
    for _ in range(25):
        shutil.rmtree(gateway.data, ignore_errors=True)
        for _ in range(chance.randrange(1, 3)):
            gateway.start(wait=None)
            time.sleep(chance.uniform(0, 0.1))
            kill(gateway)
        gateway.start()
        with socket.create_connection(gateway.address("tcp"), timeout=20) as s:
            s.sendall(b'{"device":"d","n":1}\n')
            assert s.recv(100) == b"ok 1\n"
        kill(gateway)
    assert "damage" not in gateway.log()


def test_what_a_device_has_just_heard_of_survives_a_crash_at_that_moment(sluice):
    """It dies within microseconds of its answer: the sharpest moment for an acknowledgement that came too early."""
    gateway = sluice(small_journal())
    wanted = set()
    for crash in range(20):
        with socket.create_connection(gateway.address("tcp"), timeout=20) as s:
            s.sendall(b"".join(b'{"device":"d%d","n":%d}\n' % (crash, n) for n in range(200)))
            answer = s.recv(4096)
            os.kill(gateway.pid, signal.SIGKILL)
        gateway.crashes = crash + 1
        gateway.wait_exit()
        wanted |= {(f"d{crash}", n) for n in range(int(answer.split()[-1]))}
        gateway.start()
    have = {key(record) for record in all_in_file(gateway)}
    assert wanted <= have, f"{len(wanted - have)} of {len(wanted)} acknowledged messages are missing"
