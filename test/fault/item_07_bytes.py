"""Item 7: a journal's bytes. Every byte of a small journal flipped, every file cut anywhere: never a crash, never a wrong
record, always a start, with a report; and the same inspected from outside, and repaired (test/unit/gateway/journal/test_journal_damage.c,
test_inspection.c; every byte of it; make unit takes about every 131st). Then the real program on a real disk: a journal that
a kill left is damaged in some places, inspected, repaired, and delivered."""

import json
import os
import shutil

from campaign import RoundFailed
from harness import wait_until
from sending import Sending, target

NUMBER, TITLE = 7, "journal bytes flipped, files cut"
NEEDS = ()
FULL, BOUNDED = 3, 1

TESTS = ("test_journal_damage", "test_inspection")
DAMAGES = {False: 60, True: 5}  # damaged one after the other on the real disk


def journal(gateway, *args):
    done = gateway.command("journal", *args, "--data", gateway.data, timeout=120)
    if done.returncode not in (0, 1):
        raise RoundFailed(f"sluice journal {args[0]} ended with exit code {done.returncode}: {done.stderr[-1000:]}")
    return done


def records(gateway):
    """{sequence: record} of what dump shows."""
    lines = [json.loads(line) for line in journal(gateway, "dump", "--meta").stdout.splitlines()]
    return {line["sequence"]: line.get("record") for line in lines}


def damage(round_, gateway):
    """One byte of one file flipped, or a file cut."""
    # Only files with records: spare segments, and the rest of a segment, are zeros.
    files = {path: data for path in sorted((gateway.data / "journal").glob("*.segment")) if (data := path.read_bytes()).rstrip(b"\0")}
    path = round_.rng.choice(list(files))
    data, size = files[path], len(files[path])
    used = len(data.rstrip(b"\0"))
    at = round_.rng.randrange(used)
    if round_.rng.random() < 0.2:
        os.truncate(path, at)
        return f"{path.name} cut at {at} of {size}"
    while data[at] == 0:  # most of a small block is padding
        at = round_.rng.randrange(used)
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(bytes([data[at] ^ 1 << round_.rng.randrange(8)]))
    return f"{path.name} flipped at {at}"


def on_a_real_disk(round_):
    """Copies of one journal, each damaged in one place: nothing is lost except what verify reports."""
    gateway = round_.start({"stop": {"drain": "1s"}, "listeners": {"tcp": {"reply": "count"}},
                            "sinks": {"away": {"type": "elasticsearch", "nodes": ["http://127.0.0.1:9"]}}})
    Sending(round_.dir, "run", [target(gateway, "tcp", window=200)], "-c", "2", "-r", "4k", "-t", "2s").finish(60)
    gateway.kill()
    whole, before = gateway.data, records(gateway)
    reported = lost_most = 0
    try:
        for n in range(DAMAGES[round_.bounded]):
            gateway.data = round_.dir / f"damaged-{n}"
            shutil.copytree(whole, gateway.data)
            what = damage(round_, gateway)
            verdict = json.loads(journal(gateway, "verify", "--json").stdout)
            after = records(gateway)
            wrong = [q for q, record in after.items() if before.get(q) != record]
            gone = set(before) - set(after)
            # A loss at the very end looks like the incomplete block that a crash leaves.
            at_end = gone and max(gone) == max(before) and gone == set(range(min(gone), max(before) + 1))
            round_.check(not wrong, f"{what}: wrong records {wrong[:5]}")
            round_.check(len(gone) == verdict["records_lost"] or at_end,
                         f"{what}: {len(gone)} records are gone, {verdict['records_lost']} reported")
            journal(gateway, "repair")
            round_.check(journal(gateway, "verify").returncode == 0, f"{what}: damaged after the repair")
            round_.check(records(gateway) == after, f"{what}: the repair changed what is there")
            reported += verdict["verdict"] == "damaged"
            lost_most = max(lost_most, len(gone))
            shutil.rmtree(gateway.data)
    finally:
        gateway.data = whole
    round_.note(f"{DAMAGES[round_.bounded]} places damaged on disk, {reported} reported, {lost_most} of {len(before)} records at most lost by one")
    gateway.start()  # and the one that was not damaged delivers everything
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records", type="file") == 0, 60, "the file has everything")
    return ["run"]


def run(round_):
    for name in () if round_.bounded else TESTS:
        round_.run_unit(name, env={"SLUICE_EXHAUSTIVE": "1"})
    round_.run_part(on_a_real_disk)
