"""TCP lines with plain sockets and nc against the real program."""

import contextlib
import json
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import time
from pathlib import Path

import pytest

from conftest import wait_until


def config(**tcp):
    return {"listeners": {"mqtt": None, "coap": None, "http": None, "tcp": {"reply": "count", **tcp}}}


class Client:
    """A connection that reads lines with a deadline."""

    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=10)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def line(self):
        return self.file.readline().decode().rstrip("\n")

    def until_ok(self, count):
        """All lines up to `ok <count>`; oks before it are left out, since only the newest count is promised."""
        lines = []
        while True:
            line = self.line()
            assert line, f"the connection ended before ok {count}: {lines}"
            if line == f"ok {count}":
                return lines
            if not line.startswith("ok "):
                lines.append(line)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def rest(self):
        return self.file.read().decode()

    def close(self):
        self.file.close()
        self.socket.close()


@pytest.fixture
def connect():
    made = []

    def make(gateway, listener="tcp"):
        made.append(Client(gateway.address(listener)))
        return made[-1]

    yield make
    for client in made:
        client.close()


def test_lines_become_records(sluice, connect):
    gw = sluice(config(channel="/channel"))
    c = connect(gw)
    c.send('{"device":"a","channel":"env/t","v":21.40}\r\n\n{"big":9007199254740993}\nhello\n')
    assert c.until_ok(3) == []
    records = gw.wait_records(3)
    assert [r["device"]["id"] for r in records] == ["a", "127.0.0.1", "127.0.0.1"]
    assert records[0]["network"]["protocol"] == "tcp"
    assert records[0]["sluice"]["channel"] == "env/t"
    assert [r["payload"] for r in records][1:] == [{"big": 9007199254740993}, {"text": "hello"}]
    assert '"v":21.40}' in gw.file.read_text()


@pytest.mark.skipif(not shutil.which("nc"), reason="nc is not there")
def test_netcat_hears_the_answer_to_its_last_line(sluice):
    gw = sluice(config())
    host, port = gw.address("tcp")
    for end in ("\n", ""):
        done = subprocess.run(["nc", "-N", host, str(port)], input='{"device":"n","v":1}\n{"device":"n","v":2}' + end,
                              capture_output=True, text=True, timeout=20)
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == "ok 2"
    assert [r["payload"]["v"] for r in gw.wait_records(4)] == [1, 2, 1, 2]


def test_nothing_is_said_by_default(sluice, connect):
    gw = sluice(config(reply="none"))
    c = connect(gw)
    c.send('{"device":"a"}\n{"device":"a"}')
    c.half_close()
    assert c.rest() == ""
    gw.wait_records(2)


def test_refused_lines_are_told_in_their_place(sluice, connect):
    gw = sluice(config(payload="json", max_line=100, device=["/device"]))
    c = connect(gw)
    c.send('{"device":"a"}\n{"device":\n{"t":1}\n{"device":""}\n' + "x" * 200_000 + '\n{"device":"b"}\n')
    c.half_close()
    lines = c.rest().splitlines()
    assert [line for line in lines if not line.startswith("ok")] == [
        "error 2 invalid_payload", "error 3 no_device", "error 4 invalid_device", "error 5 too_large"]
    assert lines.index("ok 1") == 0 and lines[-1] == "ok 6"
    assert [r["device"]["id"] for r in gw.wait_records(2)] == ["a", "b"]
    m = gw.metrics()
    for reason in ("invalid_payload", "no_device", "invalid_device", "too_large"):
        assert m.sum("sluice_messages_refused_total", listener="tcp", reason=reason) == 1, reason


def test_first_line_names_the_device(sluice, connect):
    gw = sluice(config(device=["/device", "first_line"]))
    c = connect(gw)
    c.send('pump-1\n{"v":1}\n{"device":"other","v":2}\n')
    c.until_ok(2)
    assert [r["device"]["id"] for r in gw.wait_records(2)] == ["pump-1", "other"]
    bad = connect(gw)
    bad.send("a\tb\n1\n")
    assert bad.rest() == "error 0 invalid_device\n"


def test_idle_connection_is_closed(sluice, connect):
    gw = sluice(config(idle_timeout="1s"))
    c = connect(gw)
    start = time.monotonic()
    c.send("half a line")
    assert c.rest() == ""
    assert 0.9 < time.monotonic() - start < 10
    assert gw.metrics().sum("sluice_messages_refused_total", listener="tcp", reason="timeout") == 1


def test_many_lines_at_once_are_answered_with_few_writes(sluice, connect):
    gw = sluice(config())
    c = connect(gw)
    lines = 50_000
    c.send("".join(f'{{"device":"d","n":{n},"text":"{"x" * (n % 150)}"}}\n' for n in range(lines)))
    c.half_close()
    answers = c.rest().splitlines()
    counts = [int(re.fullmatch(r"ok (\d+)", a).group(1)) for a in answers]
    assert counts == sorted(set(counts)) and counts[-1] == lines
    assert len(counts) < lines / 20
    records = gw.wait_records(lines, timeout=30)
    assert [r["payload"]["n"] for r in records] == list(range(lines))
    m = gw.metrics()
    assert m.sum("sluice_messages_accepted_total", listener="tcp") == lines


def test_two_threads_share_the_port(sluice, connect):
    gw = sluice(config(threads=2))
    for i in range(20):
        c = connect(gw)
        c.send(f'{{"device":"d{i}"}}\n')
        c.until_ok(1)
    gw.wait_records(20)


def test_sender_faster_than_a_small_lane_is_held_and_loses_nothing(sluice, connect):
    gw = sluice(config(lane="64KiB", max_payload="4KiB"))
    clients = [connect(gw) for _ in range(4)]
    lines = 5000
    for i, c in enumerate(clients):
        c.socket.settimeout(30)
        c.send("".join(f'{{"device":"d{i}","n":{n},"text":"{"x" * 300}"}}\n' for n in range(lines)))
        c.half_close()
    for c in clients:
        assert c.rest().splitlines()[-1] == f"ok {lines}"
    records = gw.wait_records(4 * lines, timeout=60)
    for i in range(4):
        assert [r["payload"]["n"] for r in records if r["device"]["id"] == f"d{i}"] == list(range(lines))
    assert gw.metrics().sum("sluice_backpressure_total", listener="tcp") > 0


def test_killed_gateway_has_every_line_it_said_ok_to(sluice, connect):
    gw = sluice(config())
    c = connect(gw)
    sent = 0
    for _ in range(30):
        c.send("".join(f'{{"device":"d","n":{n}}}\n' for n in range(sent, sent + 500)))
        sent += 500
    first = c.line()
    gw.kill()
    try:
        told = [first] + c.rest().splitlines()
    except ConnectionResetError:
        told = [first]
    acked = max(int(line.split()[1]) for line in told if re.fullmatch(r"ok \d+", line))
    gw.start()

    def numbers():  # the file may hold one line cut by the crash, and some records twice
        found = set()
        for line in gw.file.read_text().splitlines():
            with contextlib.suppress(ValueError):
                found.add(json.loads(line)["payload"]["n"])
        return found

    wait_until(lambda: numbers() >= set(range(acked)), 10, f"all of the first {acked} are there")


def test_stop_answers_what_is_safe_and_closes(sluice, connect):
    gw = sluice(config())
    c, idle = connect(gw), connect(gw)
    c.send('{"device":"d","n":1}\n' * 1000)
    c.until_ok(1000)
    gw.signal(15)
    assert idle.rest() == ""
    assert c.rest() == ""
    assert gw.wait_exit() == 0
    assert len(gw.records()) == 1000


def test_out_of_descriptors_backs_off_and_recovers(sluice, connect):
    gw = sluice(config())
    c = connect(gw)
    c.send('{"device":"d","n":0}\n')
    c.until_ok(1)
    used = len(os.listdir(f"/proc/{gw.pid}/fd"))
    resource.prlimit(gw.pid, resource.RLIMIT_NOFILE, (used + 4, resource.prlimit(gw.pid, resource.RLIMIT_NOFILE)[1]))
    more = [connect(gw) for _ in range(20)]
    gw.wait_log("cannot accept connections")
    c.send('{"device":"d","n":1}\n')
    c.until_ok(2)

    def cpu():
        fields = open(f"/proc/{gw.pid}/stat").read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    before, start = cpu(), time.monotonic()
    wait_until(lambda: time.monotonic() - start > 1.5, 5)  # the time over which the use of the processor is measured
    assert cpu() - before < 0.5, "it spins"
    assert gw.log().count("cannot accept connections") < 15
    for m in more[:18]:
        m.close()
    last = more[-1]
    last.send('{"device":"d","n":2}\n')
    last.until_ok(1)
    gw.wait_records(3)


def test_connections_over_the_limit_are_closed(sluice, connect):
    gw = sluice(config(max_connections=3))
    clients = [connect(gw) for _ in range(3)]
    for i, c in enumerate(clients):
        c.send(f'{{"device":"d{i}"}}\n')
        c.until_ok(1)
    fourth = connect(gw)
    assert fourth.rest() == ""
    assert gw.metrics().sum("sluice_messages_refused_total", listener="tcp", reason="connection_limit") == 1
    assert gw.metrics().sum("sluice_connections", listener="tcp") == 3


def test_garbage_and_resets_do_no_harm(sluice, connect):
    gw = sluice(config(max_line=1000))
    for i in range(50):
        c = connect(gw)
        c.send(bytes((n * (i + 3) + i) % 256 for n in range(1 + i * 97)))
        if i % 2:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        c.close()
    wait_until(lambda: gw.metrics().sum("sluice_connections", listener="tcp") == 0, 10, "all connections are gone")
    c = connect(gw)
    c.send('{"device":"alive"}\n')
    c.until_ok(1)
    gw.wait_records(lambda records: records and records[-1]["device"]["id"] == "alive")


def test_idle_connections_cost_little(sluice, connect):
    gw = sluice(config())
    if b"__asan_init" in Path(gw.program).read_bytes() or b"__tsan_init" in Path(gw.program).read_bytes():
        pytest.skip("a sanitizer's memory is not the program's")
    first = connect(gw)
    first.send('{"device":"d"}\n')
    first.until_ok(1)
    before = gw.memory()
    count = 2000
    clients = [connect(gw) for _ in range(count)]
    for c in clients:
        c.send('{"device":"d"}\n')
    for c in clients:
        c.until_ok(1)
    assert gw.metrics().sum("sluice_connections", listener="tcp") == count + 1
    wait_until(lambda: (gw.memory() - before) / count < 2048, 10, "at most 2 KiB resident per idle connection")


def test_deep_wide_and_endless_json_is_exact_or_refused(sluice, connect):
    """Each is looked through for the device, too, which comes last."""
    gw = sluice(config(device=["/device"], payload="json", max_payload="1MiB", max_line="1MiB", lane="16MiB"))
    lines = ["[" * 100000 + "]" * 100000, '{"a":' * 100000 + "1" + "}" * 100000, "{" + '"k":1,' * 50000 + '"device":"equal"}',
             "{" + "".join(f'"k{n}":{n},' for n in range(50000)) + '"device":"different"}',
             '{"n":' + "9" * 100000 + ',"device":"long"}', '{"s":"\\ud800","device":"lone"}', '{"a":{"device":"inside"}}',
             '{"device":"end"}']
    c = connect(gw)
    c.send("\n".join(lines) + "\n")
    assert [line.split()[1:] for line in c.until_ok(8)] == [
        ["1", "invalid_payload"], ["2", "invalid_payload"], ["6", "invalid_payload"], ["7", "no_device"]]
    wait_until(lambda: gw.file.exists() and gw.file.read_text().count("\n") == 4, what="four records")
    assert all(line in gw.file.read_text() for line in [*lines[2:5], lines[7]])


@pytest.mark.parametrize("bad, told", [
    ({"device": None}, "device"),
    ({"device": ["peer", "/device"]}, "peer always names a device"),
    ({"device": ["serial"]}, "serial is unknown"),
    ({"channel": "env"}, "channel: env is not a JSON pointer"),
])
def test_wrong_settings_are_told(sluice, bad, told):
    gw = sluice(config(**bad), start=False)
    done = gw.command("--check", gw.config_path)
    assert done.returncode != 0
    assert told in done.stdout + done.stderr


# ---- lines that cannot be read ---------------------------------------------------------------------------------------


def exchange(gateway, data):
    """Everything that is answered to one connection that sends data and then nothing more."""
    with socket.create_connection(gateway.address("tcp"), timeout=20) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        with s.makefile("rb") as answers:
            return answers.read().decode().splitlines()


NAMED = b'{"device":"t","a":%d}'


@pytest.mark.parametrize("data, answers, count", [
    (NAMED % 1 + b"\n\0" + NAMED % 2 + b"\n\0" + NAMED % 3 + b"\0" + NAMED % 4 + b"\0", ["ok 4"], 4),
    (b"\xef\xbb\xbf" + NAMED % 1 + b"\n" + NAMED % 2 + b"\n", ["ok 2"], 2),
    (NAMED % 1 + b"\r\n\r\n" + NAMED % 2 + b"\r" + NAMED % 3 + b"\r", ["ok 1", "error 2 invalid_payload"], 1),
    (NAMED % 1 + NAMED % 2 + NAMED % 3, ["error 1 invalid_payload"], 0),
    (b'{\n  "device": "t",\n  "a": 1\n}\n', [f"error {n} invalid_payload" for n in (1, 2, 3, 4)], 0),
], ids=["nul", "mark", "cr", "back to back", "pretty"])
def test_what_cannot_be_read_is_not_booked_on_the_peer(sluice, data, answers, count):
    gw = sluice(config(device=["/device", "peer"]))
    assert exchange(gw, data) == answers
    records = gw.wait_records(count)
    assert [(r["device"]["id"], r["payload"]["a"]) for r in records] == [("t", n + 1) for n in range(count)]
    errors = sum("error" in a for a in answers)
    assert gw.metrics().sum("sluice_messages_refused_total", listener="tcp", reason="invalid_payload") == errors
    lines = [e for e in gw.log_events() if e["message"] == "refused"]
    assert len(lines) == errors
    assert all(e["source.ip"] == "127.0.0.1" and e["sluice.reason"] == "invalid_payload" for e in lines)


def test_texts_stay_texts_of_their_peer(sluice):
    gw = sluice(config(device=["/device", "peer"]))
    assert exchange(gw, b"hello\n21.4;53\n[INFO] up\n") == ["ok 3"]
    assert {r["device"]["id"] for r in gw.wait_records(3)} == {"127.0.0.1"}


def test_wrap_books_what_cannot_be_read_on_the_peer_and_says_so(sluice):
    gw = sluice(config(device=["/device", "peer"], on_invalid="wrap"))
    assert exchange(gw, NAMED % 1 + NAMED % 2) == ["ok 1"]
    record, = gw.wait_records(1)
    assert record["device"]["id"] == "127.0.0.1" and record["sluice"]["not_json"] == "trailing_bytes"


def test_a_line_of_max_payload_is_taken(sluice):
    gw = sluice(config(device=["/device", "peer"]))
    assert exchange(gw, b"x" * (256 << 10) + b"\n") == ["ok 1"]
    assert exchange(gw, b"x" * ((256 << 10) + 1) + b"\n") == ["error 1 too_large"]
