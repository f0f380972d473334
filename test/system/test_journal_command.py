"""`sluice journal`: what is in a journal is told, while a gateway runs and afterwards; what is damaged is found and mended.
A reader written from docs/journal-format.md alone (journal_reader.py) sees the same."""

import json
import socket

import httpx
import pytest
from conftest import merge, wait_until
from journal_reader import KINDS, Journal
from test_crash import SMALL_JOURNAL
from test_mqtt import CONNACK_PRESENT, Raw, puback, publish, pubrec

LINES = 400


def command(gw, *args):
    return gw.command("journal", *args, "--data", gw.data, timeout=60)


def fill(gw):
    """Several segments of everything: telemetry, state alone and attached, dead letters of the intake."""
    with socket.create_connection(gw.address("tcp"), timeout=10) as s:
        for n in range(LINES):
            s.sendall(json.dumps({"device": f"d{n % 7}", "n": n, "pad": "\u00fc" * 4000}, ensure_ascii=False).encode() + b"\n")
        s.shutdown(socket.SHUT_WR)
        while s.recv(4096):
            pass
    for mid in (7, 8, 9):
        Raw(gw, f"client-{mid}", clean=False).send(publish("devices/m/t", f'{{"mid":{mid}}}', qos=2, mid=mid)).expect(pubrec(mid))
    Raw(gw, "bad").send(publish("devices/bad/t", '{"n":', qos=1)).expect(puback(1)).close()
    Raw(gw, "client-9", clean=True).close()  # forgets, by an entry of state alone
    answer = httpx.post(gw.url("/v1/telemetry/h", "http"), content='{"keyed":1}',
                        headers={"Content-Type": "application/json", "Idempotency-Key": "key-1"})
    assert answer.status_code == 204


@pytest.fixture
def held(sluice, free_port_number):
    """A gateway with a full journal: one of its sinks is away, so that everything stays."""
    gw = sluice(merge(SMALL_JOURNAL, {
        "listeners": {"mqtt": {"payload": "json", "on_invalid": "dead_letter"}, "tcp": {"reply": "count", "device": ["/device"]}},
        "sinks": {"away": {"type": "elasticsearch", "nodes": [f"http://127.0.0.1:{free_port_number}"]}}}))
    fill(gw)
    return gw


@pytest.fixture
def free_port_number():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def dumped(gw, code=0, *args):
    done = command(gw, "dump", "--meta", *args)
    assert done.returncode == code, done.stdout[-2000:] + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def seen(gw):
    """What journal_reader finds, as dump --meta tells it."""
    journal = Journal.open(gw.data)
    out = []
    for e in journal.entries():
        line = {"sequence": e.sequence, "segment": e.segment, "offset": e.offset, "kind": KINDS[e.kind]}
        if e.kind != 2:
            line["record"] = json.loads(e.json)
            assert line["record"]["event"]["id"] == e.id.decode()
        if e.changes:
            line["state"] = [(c.scope.decode(), c.group.decode(), c.member.hex()) for c in e.changes]
        out.append(line)
    return journal, out


def same(theirs, ours):
    assert len(theirs) == len(ours)
    for a, b in zip(theirs, ours, strict=True):
        a = {k: v for k, v in a.items() if k not in ("received", "listener")}
        if "state" in a:
            a["state"] = [(c["scope"], c["group"], c["member_hex"]) for c in a["state"]]
        assert a == b


def spoil(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 0x40]))


def info(gw):
    done = command(gw, "info", "--json")
    return done.returncode, json.loads(done.stdout)


def test_a_reader_made_from_the_document_sees_what_dump_shows(held):
    held.kill()
    journal, ours = seen(held)
    theirs = dumped(held)
    same(theirs, ours)
    assert not journal.damage and len(journal.segments) > 2
    assert {line["kind"] for line in theirs} == {"telemetry", "state", "dead"}
    assert [line["sequence"] for line in theirs] == list(range(1, len(theirs) + 1))
    assert {line["listener"] for line in theirs if "listener" in line} == {"tcp", "mqtt", "http"}
    code, told = info(held)
    assert (code, told["records"], told["damage"]["places"]) == (0, len(ours), 0)
    # Two sessions, an identifier that each has open, and an idempotency key.
    assert told["state"]["items"] == len(journal.state) == 5
    assert told["state"]["scopes"] == {"mqtt": 4, "http": 1}
    assert {name: c["at"] for name, c in told["cursors"].items()} == journal.cursors()
    assert told["cursors"]["away"]["records_behind"] == len(ours)
    plain = command(held, "dump", "--from", "3", "--to", "5")
    assert [json.loads(x) for x in plain.stdout.splitlines()] == [line["record"] for line in theirs[2:5]]
    assert len(command(held, "dump", "--limit", "7").stdout.splitlines()) == 7
    table = command(held, "info").stdout
    assert f"records   {len(ours)} " in table and "state     5 items" in table and "away" in table


def test_a_damaged_block_is_told_mended_and_kept(held):
    held.kill()
    journal, before = seen(held)
    victim = journal.segments[1]
    blocks = [b for s, b in journal.blocks() if s is victim]
    lost = blocks[len(blocks) // 2]
    damaged = {line["sequence"] for line in before if lost.first <= line["sequence"] < lost.first + lost.count}
    path = held.data / "journal" / f"{victim.number:08}.segment"
    spoil(path, lost.offset + 100)
    spoiled = path.read_bytes()
    spoil(held.data / "journal" / "cursors" / "file.cursor", 20)
    spoil(held.data / "journal" / "cursors" / "file.cursor", 4096 + 20)

    journal, ours = seen(held)
    same(dumped(held, 1), ours)
    assert [line for line in before if line["sequence"] not in damaged] == ours
    assert [(d.segment, d.offset, d.records_lost) for d in journal.damage] == [(victim.number, lost.offset, lost.count)]
    told = command(held, "verify")
    assert told.returncode == 1
    assert f"segment {victim.number:08}, offset {lost.offset}, {lost.size} bytes: damaged; lost: sequences {lost.first} to" in told.stdout
    assert "cursor file: damaged" in told.stdout
    machine = json.loads(command(held, "verify", "--json").stdout)
    assert machine["verdict"] == "damaged" and machine["records_lost"] == lost.count and len(machine["damage"]) == 2

    mended = command(held, "repair")
    assert mended.returncode == 0, mended.stdout + mended.stderr
    whole = command(held, "verify")
    assert whole.returncode == 0, whole.stdout
    assert "known to be lost" in whole.stdout
    place = ("segment", "offset")
    kept = [{k: v for k, v in line.items() if k not in place} for line in seen(held)[1]]
    assert kept == [{k: v for k, v in line.items() if k not in place} for line in ours]
    same(dumped(held), seen(held)[1])
    assert (held.data / "journal" / "quarantine" / path.name).read_bytes() == spoiled
    assert "nothing to repair" in command(held, "repair").stdout

    # It is a journal to go on with: nothing is missing but what was lost, and what was open is still known.
    held.config["sinks"].pop("away")
    held.write_config()
    assert held.command("--config", held.config_path, "cursor", "drop", "away", "--yes").returncode == 0
    held.start()
    numbers = {line["record"]["payload"]["n"] for line in ours if line["kind"] == "telemetry" and "n" in line["record"]["payload"]}
    held.wait_records(lambda records: numbers <= {r["payload"].get("n") for r in records}, 20)
    Raw(held, "client-7", clean=False, expect=CONNACK_PRESENT).send(
        publish("devices/m/t", '{"mid":7}', qos=2, mid=7, dup=True)).expect(pubrec(7))
    assert held.metrics().sum("sluice_messages_duplicate_total", listener="mqtt") == 1


def test_the_state_survives_the_loss_of_its_checkpoint(held):
    """The newest segment begins with one. A copy that began with a record instead would say that there is no state."""
    held.kill()
    journal, _ = seen(held)
    newest = journal.segments[-1]
    assert next(b for s, b in journal.blocks() if s is newest).checkpoint
    before = set(journal.state)
    spoil(held.data / "journal" / f"{newest.number:08}.segment", 4096 + 80)
    assert command(held, "verify").returncode == 1
    assert command(held, "repair").returncode == 0
    assert command(held, "verify").returncode == 0
    journal, _ = seen(held)
    assert set(journal.state) == before
    assert info(held)[1]["state"]["items"] == len(before)


def test_a_running_gateway_is_looked_at_and_not_mended(sluice):
    """Its segments are used again all the while: nothing of that looks like damage."""
    gw = sluice(merge(SMALL_JOURNAL, {"listeners": {"tcp": {"reply": "count"}}}))
    with socket.create_connection(gw.address("tcp"), timeout=10) as s:
        for n in range(60):
            s.sendall(b"".join(json.dumps({"n": n, "pad": "x" * 4000}).encode() + b"\n" for _ in range(20)))
            if n % 6 == 0:
                for what in ("verify", "info", "dump"):
                    done = command(gw, what)
                    assert done.returncode == 0, done.stdout[-1000:] + done.stderr
        refused = command(gw, "repair")
        assert refused.returncode == 2 and "in use by another process" in refused.stderr
        want = b"ok 1200\n"
        have = b""
        while want not in have:
            have += s.recv(65536)
    wait_until(lambda: info(gw)[1]["last"] == 1200, 10, "all is seen")


def test_what_is_wrong_with_a_call_is_told(sluice, tmp_path):
    gw = sluice(start=False)
    for args, said in ((["journal"], "info"), (["journal", "look"], "info"), (["journal", "info"], "--data DIR"),
                       (["journal", "info", "--data", tmp_path / "none"], "there is no journal"),
                       (["journal", "verify", "--data", tmp_path, "--limit", "3"], "does not take"),
                       (["journal", "dump", "--data", tmp_path, "--limit", "x"], "whole number")):
        done = gw.command(*args)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    for name in ("info", "dump", "verify", "repair"):
        done = gw.command("journal", name, "--help")
        assert done.returncode == 0 and f"sluice journal {name} --data" in done.stdout
    assert not (tmp_path / "none").exists()
