"""Item 10: the wall clock jumps by an hour, a day, a year, forward and back, while messages come, and between a kill and a start
(test/fault/wall_clock.c). Afterwards nothing acknowledged is missing and the journal is undamaged; where nothing was killed, the
messages of a connection are in order, no connection was closed and no answer was late; and the file is rotated as often as its
size requires, not once for each jump.

And long times: the journal's sequence numbers pass 2^32 and what two years of 200,000 records a second are (sequence_origin.py), over
kills and with a sink that catches up; and connections use every 16-bit identifier more than once. docs/testing.md lists the counters
and what happens to each at its edge."""

import struct
import time

from harness import ROOT, free_ports, wait_until
from journal_reader import Journal
from sending import Sending, errors, target, verify
from sequence_origin import set_sequence_origin

NUMBER, TITLE = 10, "the clock jumps; long times"
NEEDS = ()
FULL, BOUNDED = 12, 1
DAY = 86400
JUMPS = (DAY, -DAY, 400 * DAY, -400 * DAY, 3600, -3600, -1, 1)
LISTENERS = ("mqtt", "coap", "tcp", "http")
EDGES = {1 << 32: "2^32", 2 * 365 * DAY * 200_000: "two years of 200,000 a second"}
MANY = 140_000  # messages of a connection: more than twice the number of 16-bit identifiers


class Clock:
    def __init__(self, path):
        self.path, self.offset_s = path, 0
        path.write_bytes(struct.pack("<q", 0))

    def jump(self, seconds):
        self.offset_s += seconds
        with open(self.path, "r+b") as file:  # in place: it is mapped
            file.write(struct.pack("<q", self.offset_s * 1_000_000))


def jumps(round_):
    clock = Clock(round_.dir / "clock")
    library = ROOT / "build" / "test" / "fault" / "wall_clock.so"
    out = round_.dir / "out"
    gateway = round_.start({"listeners": {"tcp": {"reply": "count", "idle_timeout": "5s"}},
                            "sinks": {"file": {"path": str(out / "telemetry.ndjson"), "rotate_bytes": "1MiB", "keep": 1000}}},
                           env={"LD_PRELOAD": str(library), "WALL_CLOCK": str(clock.path)})
    seconds = 4 if round_.bounded else 12
    load = Sending(round_.dir, "jumps", [target(gateway, name, connections=4) for name in LISTENERS], "-r", "500", "-t", f"{seconds}s")
    wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 0, 20, "messages are accepted")
    killed = 0
    while load.running():
        time.sleep(round_.rng.uniform(0.1, 0.4))
        clock.jump(round_.rng.choice(JUMPS))
        if killed < (not round_.bounded) and round_.rng.random() < 0.05:
            killed += 1
            gateway.kill()
            clock.jump(round_.rng.choice(JUMPS))
            began = time.monotonic()
            gateway.start()
            round_.recovered(time.monotonic() - began)
    found = load.finish()
    wrong = errors(found)
    round_.check(killed or not wrong, f"errors though only the clock was wrong: {wrong}")
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
    m = gateway.metrics()
    late = m.sum("sluice_acknowledgements_late_total")
    round_.check(killed or late == 0, f"{late} answers were late")
    dump = gateway.command("journal", "verify", "--data", gateway.data, timeout=60)
    round_.check(dump.returncode == 0, f"the journal is damaged: {dump.stdout}{dump.stderr}")
    files, size = len(list(out.iterdir())), sum(f.stat().st_size for f in out.iterdir())
    round_.check(files <= size // (1 << 20) + 2 + killed, f"{files} files for {size} bytes: a jump rotates")
    disorder = verify(load.ledger, out)["out_of_order"]
    round_.check(killed or disorder == 0, f"{disorder} messages are out of order")
    round_.note(f"the clock ended {clock.offset_s / DAY:+.1f} days off, {killed} times killed, {files} files")
    gateway.file = out  # all of its files are verified
    return ["jumps"]


def across(edge, what):
    """A part: the sequence numbers pass this one while the gateway is loaded and killed, with a sink that is unavailable; then the sink
    is a file and gets everything, the backlog and what comes meanwhile."""

    def pass_edge(round_):
        begin = edge - round_.rng.randrange(200, 2000)
        set_sequence_origin(round_.dir / "data", begin, ("file", "late"))
        unreachable = {"type": "elasticsearch", "nodes": [f"http://127.0.0.1:{free_ports()}"]}
        gateway = round_.start({"sinks": {"late": unreachable}, "stop": {"drain": "1s"}})
        seconds = 3 if round_.bounded else 12
        load = Sending(round_.dir, "first", [target(gateway, name, connections=4) for name in LISTENERS], "-r", "500", "-t", f"{seconds}s")
        for _ in range(1 if round_.bounded else 4):
            time.sleep(round_.rng.uniform(0.3, 1.5))
            kill_and_restart(round_, gateway)
        load.finish()
        round_.check(gateway.stop() == 0, "it does not stop in order")
        sequences = [e.sequence for e in Journal.open(gateway.data).entries()]
        round_.check(sequences == list(range(begin + 1, begin + 1 + len(sequences))), f"the journal does not hold {begin + 1} and what follows, without gaps")
        round_.check(sequences[-1] > edge, f"{edge} was not passed: the last is {sequences[-1]}")
        verified = gateway.command("journal", "verify", "--data", gateway.data, timeout=60)
        round_.check(verified.returncode == 0, f"the journal is damaged: {verified.stdout}{verified.stderr}")
        gateway.config["sinks"]["late"] = {"type": "file", "path": str(round_.dir / "late.ndjson"), "replay_order": "live_first",
                                           "replay_rate": 5000, "batch_records": 100}
        gateway.restart()
        load = Sending(round_.dir, "second", [target(gateway, name, connections=4) for name in LISTENERS], "-r", "100", "-t", "2s")
        time.sleep(round_.rng.uniform(0.3, 1))
        kill_and_restart(round_, gateway)
        load.finish()
        wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "both files have everything")
        last = int(gateway.metrics().sum("sluice_journal_last_sequence"))
        cursors = {int(gateway.metrics().sum("sluice_sink_cursor", sink=sink)) for sink in ("file", "late")}
        round_.check(cursors == {last}, f"cursors {cursors}, the last is {last}")
        for run in ("first", "second"):
            missing = verify(round_.dir / f"{run}.ledger", round_.dir / "late.ndjson")["missing"]
            round_.check(missing == 0, f"{missing} acknowledged messages of the {run} run are missing in the sink that was unavailable")
        round_.note(f"sequences {begin + 1} to {last}, over {what}")
        return ["first", "second"]

    pass_edge.__name__ = f"numbers_{edge}"
    return pass_edge


def kill_and_restart(round_, gateway):
    gateway.kill()
    began = time.monotonic()
    gateway.start()
    round_.recovered(time.monotonic() - began)


def identifiers(round_):
    """One connection of each kind that uses every 16-bit identifier more than once, over a kill."""
    gateway = round_.start({"listeners": {"mqtt": {"idle_timeout": "60s"}}})
    kinds = {"qos1": target(gateway, "mqtt", qos=1, window=500), "qos2": target(gateway, "mqtt", qos=2, window=500),
             "coap": target(gateway, "coap", window=50)}
    loads = [Sending(round_.dir, name, [kind], "-c", "1", "-n", str(MANY), "-t", "300s") for name, kind in kinds.items()]
    wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > round_.rng.randrange(MANY, 2 * MANY), 120, "messages are accepted")
    kill_and_restart(round_, gateway)
    for load in loads:
        load.finish(400)
    round_.note(f"{MANY} messages of one connection each: QoS 1, QoS 2, CoAP")
    return list(kinds)


def run(round_):
    round_.run_part(jumps)
    parts = [across(edge, what) for edge, what in EDGES.items()]
    round_.run_part(round_.rng.choice(parts if round_.bounded else [*parts, identifiers]))
