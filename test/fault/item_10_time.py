"""Item 10: the wall clock jumps by an hour, a day, a year, there and back, while messages come, and between a kill and a start
(test/fault/wall_clock.c). Afterwards nothing acknowledged is missing and the journal is whole; where nothing was killed, what a
connection sent came in its order, no connection was closed and no answer was late; and the file is rotated as often as its
size asks, not once for each jump."""

import struct
import time

from harness import ROOT, wait_until
from sending import Sending, errors, target, verify

NUMBER, TITLE = 10, "the wall clock jumps"
NEEDS = ()
FULL, BOUNDED = 20, 1
DAY = 86400
JUMPS = (DAY, -DAY, 400 * DAY, -400 * DAY, 3600, -3600, -1, 1)
LISTENERS = ("mqtt", "coap", "tcp", "http")


class Clock:
    def __init__(self, path):
        self.path, self.off = path, 0
        path.write_bytes(struct.pack("<q", 0))

    def jump(self, seconds):
        self.off += seconds
        with open(self.path, "r+b") as file:  # in place: it is mapped
            file.write(struct.pack("<q", self.off * 1_000_000))


def jumps(trial):
    clock = Clock(trial.dir / "clock")
    library = ROOT / "build" / "test" / "fault" / "wall_clock.so"
    out = trial.dir / "out"
    gateway = trial.start({"listeners": {"tcp": {"reply": "count", "idle_timeout": "5s"}},
                           "sinks": {"file": {"path": str(out / "telemetry.ndjson"), "rotate_bytes": "1MiB", "keep": 1000}}},
                          env={"LD_PRELOAD": str(library), "WALL_CLOCK": str(clock.path)})
    seconds = 4 if trial.bounded else 12
    load = Sending(trial.dir, "jumps", [target(gateway, name, connections=4) for name in LISTENERS], "-r", "500", "-t", f"{seconds}s")
    wait_until(lambda: gateway.metrics().sum("sluice_messages_accepted_total") > 0, 20, "messages are accepted")
    killed = 0
    while load.running():
        time.sleep(trial.chance.uniform(0.1, 0.4))
        clock.jump(trial.chance.choice(JUMPS))
        if killed < (not trial.bounded) and trial.chance.random() < 0.05:
            killed += 1
            gateway.kill()
            clock.jump(trial.chance.choice(JUMPS))
            began = time.monotonic()
            gateway.start()
            trial.recovered(time.monotonic() - began)
    found = load.finish()
    wrong = errors(found)
    trial.must(killed or not wrong, f"errors though nothing was wrong but the clock: {wrong}")
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the file has everything")
    m = gateway.metrics()
    late = m.sum("sluice_acknowledgements_late_total")
    trial.must(killed or late == 0, f"{late} answers were late")
    dump = gateway.command("journal", "verify", "--data", gateway.data, timeout=60)
    trial.must(dump.returncode == 0, f"the journal is not whole: {dump.stdout}{dump.stderr}")
    files, size = len(list(out.iterdir())), sum(f.stat().st_size for f in out.iterdir())
    trial.must(files <= size // (1 << 20) + 2 + killed, f"{files} files for {size} bytes: a jump rotates")
    disorder = verify(load.ledger, out)["out_of_order"]
    trial.must(killed or disorder == 0, f"{disorder} messages are out of their order")
    trial.note(f"the clock ended {clock.off / DAY:+.1f} days off, {killed} times killed, {files} files")
    gateway.file = out  # all of its files are verified
    return ["jumps"]


def play(trial):
    trial.part(jumps)
