"""The campaign of fault injection: rounds of every numbered item, and a table that shows whether anything acknowledged was lost.

    make torture [ITEM=1,3] [ROUNDS=200] [SEED=7] [ROUND=12] [SINKS=file,kafka,elasticsearch] [RECORD=1]
    make torture-bounded       a few rounds, to files only: what CI runs

A round depends on SEED, its item and its number alone: ROUND=12 with the seed that was printed repeats that one. A failed round
keeps its directory. After each round the results so far are in build/torture.json, a list of {item, rounds, sent, acknowledged,
missing, duplicates, recovery_s, seed} and more."""

import argparse
import json
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("system", "bench")]

import pytest  # noqa: E402 (harness.py fails by pytest.fail)

import item_01_kill  # noqa: E402
import item_02_power  # noqa: E402
import item_03_disk  # noqa: E402
import item_04_kafka  # noqa: E402
import item_05_elasticsearch  # noqa: E402
import item_06_network  # noqa: E402
import item_07_bytes  # noqa: E402
import item_08_overload  # noqa: E402
import item_09_hostile  # noqa: E402
import item_10_time  # noqa: E402
import item_11_replicas  # noqa: E402
import item_12_soak  # noqa: E402
import item_13_mistakes  # noqa: E402
import machine  # noqa: E402
from backends import Backends  # noqa: E402
from campaign import RoundFailed, StandardRound  # noqa: E402
from custom_round import CustomRound  # noqa: E402

# A new item is one file and one line here.
ITEMS = [
    item_01_kill,
    item_02_power,
    item_03_disk,
    item_04_kafka,
    item_05_elasticsearch,
    item_06_network,
    item_07_bytes,
    item_08_overload,
    item_09_hostile,
    item_10_time,
    item_11_replicas,
    item_12_soak,
    item_13_mistakes,
]


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--item", help="only this one, or these: 1,3,6")
    p.add_argument("--rounds", type=int, help="instead of the item's own number")
    p.add_argument("--round", type=int, help="only this one, from 1")
    p.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    p.add_argument("--sinks", default="file,kafka,elasticsearch", help="%(default)s; an item adds what it needs")
    p.add_argument("--bounded", action="store_true", help="few rounds, to files only")
    p.add_argument("--json", type=Path, default=Path("build/torture.json"))
    p.add_argument("--record", action="store_true", help="into docs/torture.json and the table in docs/testing.md, too: the rows of the items that were run")
    a = p.parse_args()
    known = {item.NUMBER for item in ITEMS}
    asked = a.item.split(",") if a.item else sorted(known)
    a.items = {int(n) for n in asked if str(n).isdigit()}
    if len(a.items) != len(asked) or a.items - known:
        p.error(f"--item {a.item}: there are {', '.join(map(str, sorted(known)))}")
    if set(a.sinks.split(",")) - {"file", "kafka", "elasticsearch"}:
        p.error(f"--sinks {a.sinks}: of file, kafka and elasticsearch")
    return a


def rounds_of(item, a):
    if a.round:
        return [a.round]
    own = item.BOUNDED if a.bounded else item.FULL
    return range(1, 1 + (a.rounds if a.rounds is not None and own else own))


def check(round_, verdicts):
    for sink, verdict in verdicts.items():
        total = verdict["total"]
        if total["missing"] or total["unknown"]:
            raise RoundFailed(f"{sink}: {total['missing']} acknowledged messages are missing, {total['unknown']} were never sent\n{round_.report}")
        if sink == "elasticsearch" and total["twice"]:
            raise RoundFailed(f"{sink}: {total['twice']} messages that were sent once are there twice\n{round_.report}")


def run_standard_round(item, number, row, backends, work, seed):
    round_ = StandardRound(work / f"round-{item.NUMBER}-{number}", backends, f"{seed}-{item.NUMBER}-{number}",
                           f"torture-{seed}-{item.NUMBER}-{number}", number, item.SECONDS, getattr(item, "PROXIED", False))
    try:
        if hasattr(item, "prepare"):
            item.prepare(round_)
        round_.start()
        item.inject(round_)
        round_.finish()
        verdicts = round_.verify()
        first = verdicts["file"]["total"]
        row["rounds"] += 1
        row["sent"] += first["sent"]
        row["acknowledged"] += first["acknowledged"]
        row["missing"] += sum(v["total"]["missing"] for v in verdicts.values())
        row["recovery_s"] = round(max(row["recovery_s"], round_.recovery_s), 3)
        for sink, v in verdicts.items():
            row["duplicates"][sink] = row["duplicates"].get(sink, 0) + v["total"]["twice"]
        check(round_, verdicts)
    finally:
        round_.close()
    shutil.rmtree(round_.dir)
    return f"{', '.join(round_.notes)}: {first['acknowledged']} acknowledged, missing {row['missing']}, back in {round_.recovery_s:.2f} s"


def run_custom_round(item, number, row, work, seed, bounded):
    """A round of an item that has a run() (custom_round.py)."""
    round_ = CustomRound(work / f"round-{item.NUMBER}-{number}", f"{seed}-{item.NUMBER}-{number}", bounded)
    try:
        item.run(round_)
    finally:
        row["sent"] += round_.sent
        row["acknowledged"] += round_.acknowledged
        row["missing"] += round_.missing
        row["duplicates"]["file"] = row["duplicates"].get("file", 0) + round_.duplicates
        row["recovery_s"] = round(max(row["recovery_s"], round_.recovery_s), 3)
    row["rounds"] += 1
    shutil.rmtree(round_.root)
    return "\n  ".join([f"{round_.acknowledged} acknowledged, missing {round_.missing}", *round_.notes])


def write_rows(path, rows):
    path.write_text("[\n" + ",\n".join(map(json.dumps, rows)) + "\n]\n")


def run_item(item, a, rows, backends, work):
    """Runs an item's rounds; returns how many failed."""
    row = {"item": item.NUMBER, "title": item.TITLE, "rounds": 0, "sent": 0, "acknowledged": 0, "missing": 0, "duplicates": {},
           "recovery_s": 0.0, "failed": 0, "seed": a.seed, "minutes": 0}
    began = time.monotonic()
    rounds = rounds_of(item, a)
    if not rounds:
        return 0
    rows.append(row)
    for number in rounds:
        try:
            if hasattr(item, "run"):
                result = run_custom_round(item, number, row, work, a.seed, a.bounded)
            else:
                result = run_standard_round(item, number, row, backends, work, a.seed)
        except (Exception, pytest.fail.Exception) as error:
            row["failed"] += 1
            result = f"FAILED: {error}\n  kept: {work}\n  again: make torture ITEM={item.NUMBER} SEED={a.seed} ROUND={number}"
        print(f"item {item.NUMBER}, round {number} of {rounds[-1]}: {result}", flush=True)
        row["minutes"] = round((time.monotonic() - began) / 60, 1)
        a.json.parent.mkdir(parents=True, exist_ok=True)
        write_rows(a.json, rows)
    return row["failed"]


def table(rows):
    print(f"\n{'item':36} {'rounds':>6} {'sent':>10} {'acknowledged':>12} {'missing':>8} {'failed':>7} {'recovery':>9}  twice")
    for r in rows:
        twice = ", ".join(f"{sink} {n}" for sink, n in r["duplicates"].items())
        print(f"{r['item']:2} {r['title']:33} {r['rounds']:6} {r['sent']:10} {r['acknowledged']:12} {r['missing']:8} {r['failed']:7} "
              f"{r['recovery_s']:7.2f} s  {twice}")


def record(rows):
    """Writes the results into the documentation: new rows for these items, the others unchanged."""
    docs = Path(__file__).resolve().parents[2] / "docs"
    facts = machine.facts(docs, docs.parent / "build" / "sluice")
    machine_name = f"{facts['processor']}, {facts['memory']}, {facts['kernel']}, {facts['system']}"
    known = {r["item"]: r for r in json.loads((docs / "torture.json").read_text())}
    known |= {r["item"]: r | {"commit": facts["commit"], "date": facts["date"], "machine": machine_name} for r in rows}
    merged = [known[n] for n in sorted(known)]
    write_rows(docs / "torture.json", merged)
    lines = ["`make torture RECORD=1 ITEM=n SEED=seed` of each item. " +
             " ".join(f"Items {', '.join(str(r['item']) for r in merged if r['machine'] == p)} on {p}."
                      for p in dict.fromkeys(r["machine"] for r in merged)), "",
             "| item | | rounds | sent | acknowledged | missing | failed rounds | sent once, there twice | longest outage to recovery | "
             "minutes | seed | commit | date |",
             "| ---: | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | --- | --- |"]
    for r in merged:
        twice = ", ".join(f"{sink} {n}" for sink, n in r["duplicates"].items())
        lines.append(f"| {r['item']} | {r['title']} | {r['rounds']} | {r['sent']:,} | {r['acknowledged']:,} | {r['missing']} | {r['failed']} | "
                     f"{twice} | {r['recovery_s']:.2f} s | {r['minutes'] or ''} | {r['seed']} | {r['commit']} | {r['date']} |")
    page = docs / "testing.md"
    before, _, rest = page.read_text().partition("<!-- recorded -->")
    page.write_text(before + "<!-- recorded -->\n" + "\n".join(lines) + "\n<!-- end -->" + rest.partition("<!-- end -->")[2])


def main():
    a = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("torture: ended by SIGTERM"))  # so that everything it started is stopped
    print(f"torture: SEED={a.seed}", flush=True)
    work, rows, failed, began = Path(tempfile.mkdtemp(prefix="sluice-torture-")), [], 0, time.monotonic()
    asked = set() if a.bounded else set(a.sinks.split(",")) - {"file"}
    backends = Backends(work, asked)
    try:
        for item in ITEMS:
            if item.NUMBER in a.items:
                backends.names = sorted(asked | set(item.NEEDS))
                failed += run_item(item, a, rows, backends, work)
    finally:
        backends.stop()
        if not failed:
            shutil.rmtree(work, ignore_errors=True)
    table(rows)
    if a.record:
        record(rows)
    print(f"{time.monotonic() - began:.0f} s; {a.json}")
    if not any(r["rounds"] for r in rows):
        sys.exit("torture: no round was run")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
