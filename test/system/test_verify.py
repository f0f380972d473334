"""sluice-load verify against real places: it finds everything when all is well, over crashes too, and each loss that was caused
on purpose."""

import http.server
import json
import os
import re
import subprocess
import threading
import uuid
from pathlib import Path

import pytest

from conftest import wait_until

LOAD = Path(os.environ.get("SLUICE_BIN", Path(__file__).parents[2] / "build/sluice")).with_name("sluice-load")
CONFIG = {"listeners": {"tcp": {"reply": "count", "device": ["/device"]}}}


def target(gateway, listener, options=""):
    host, port = gateway.address(listener)
    return f"{listener}://{host}:{port}{options}"


def start(*args):
    return subprocess.Popen([LOAD, *map(str, args), "--quiet"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(run, timeout=60):
    try:
        output, errors = run.communicate(timeout=timeout)
    finally:
        if run.poll() is None:
            run.kill()
            run.communicate()
    assert run.returncode == 0, output + errors


def run(*args):
    finish(start(*args))


class Verdict:
    """What verify says: its exit code, its words, and its JSON by source."""

    def __init__(self, ledger, *args):
        told = Path(f"{ledger}.verdict")
        told.unlink(missing_ok=True)
        done = subprocess.run([LOAD, "verify", "--ledger", ledger, "--json", told, *map(str, args)], capture_output=True,
                              text=True, timeout=120)
        self.code, self.output, self.errors = done.returncode, done.stdout, done.stderr
        self.sources = json.loads(told.read_text()) if self.code != 2 else []

    @property
    def total(self):
        assert len(self.sources) == 1, self.errors
        return self.sources[0]["total"]


def settled(gateway):
    wait_until(lambda: gateway.metrics().sum("sluice_sink_lag_records") == 0, 60, "the sinks have everything")


@pytest.fixture
def sent(sluice, tmp_path):
    """A gateway with 300 messages of TCP in its file, acknowledged, and their ledger."""
    gateway, ledger = sluice(CONFIG), tmp_path / "ledger"
    run(target(gateway, "tcp"), "-n", 300, "-d", 3, "-c", 3, "--ledger", ledger)
    gateway.wait_records(300)
    return gateway, ledger


def test_over_a_crash_nothing_is_missing_in_file_kafka_and_elasticsearch(sluice, kafka, search, tmp_path):
    name, ledger = f"verify-{uuid.uuid4().hex[:8]}", tmp_path / "ledger"
    kafka.create_topic(name)
    gateway = sluice({**CONFIG, "sinks": {"kafka": {"brokers": kafka.bootstrap, "topic": name},
                                          "elasticsearch": {"nodes": search.url, "index": name}}})
    load = start(target(gateway, "mqtt"), target(gateway, "mqtt", "#qos=2,name=mqtt2-{n}"), target(gateway, "coap"),
                 target(gateway, "tcp"), target(gateway, "http", "#batch=10"), "-c", 2, "-r", 500, "-t", "4s", "--ledger", ledger)
    gateway.wait_records(2000)
    gateway.kill()
    gateway.restart()
    finish(load)
    settled(gateway)
    assert gateway.stop() == 0
    v = Verdict(ledger, gateway.file, f"kafka://{kafka.bootstrap}/{name}", f"{search.url}/{name}")
    assert v.code == 0, v.output + v.errors
    assert [s["source"].partition(":")[0] for s in v.sources][1:] == ["kafka", "http"]
    for source in v.sources:
        total = source["total"]
        assert total["acknowledged"] == total["sent"] >= 5000 and total["missing"] == 0, source
        assert total["arrived"] == total["sent"] and source["foreign"] == total["unknown"] == 0, source
        assert {(p["protocol"], p["qos"]) for p in source["protocols"]} >= {("mqtt", 1), ("mqtt", 2)}
    in_file, in_search = v.sources[0]["total"], v.sources[2]["total"]
    assert in_search["twice"] == 0, "what was sent once is in Elasticsearch once"
    assert in_search["out_of_order"] is None and in_file["out_of_order"] is not None
    streams = [p for p in v.sources[0]["protocols"] if p["protocol"] in ("tcp", "http") or (p["protocol"], p["qos"]) == ("mqtt", 1)]
    assert all(p["out_of_order"] == 0 for p in streams), streams


def test_an_acknowledgement_before_the_disk_is_caught(sluice, tmp_path):
    """`ack: accepted` promises nothing beyond memory. A second between commits, and it is killed while messages that were
    acknowledged are seen to lie in the lane. Bursts, and more than one of them in the lane, since the one before was answered
    long ago; less than the 96 KiB that are committed at once."""
    gateway = sluice({"listeners": {"tcp": {"reply": "count", "device": ["/device"], "ack": "accepted"}},
                      "journal": {"commit_idle": "1s"}})
    ledger = tmp_path / "ledger"
    load = start(target(gateway, "tcp"), "--burst", "80:40ms", "-t", "4s", "--ledger", ledger)
    gateway.wait_records(10)
    wait_until(lambda: 50_000 < gateway.metrics().sum("sluice_lane_bytes", listener="tcp"), 20, "messages lie in the lane",
               every=0.005)
    gateway.kill()
    gateway.restart()
    finish(load)
    settled(gateway)
    assert gateway.stop() == 0
    v = Verdict(ledger, gateway.file)
    assert v.code == 1 and v.total["missing"] >= 100, v.output
    assert len(v.sources[0]["missing"]) == 10 and "acknowledged and missing: tcp-" in v.output
    assert v.total["arrived"] == v.total["sent"] - v.total["missing"]


def test_a_file_that_lost_its_end_is_caught(sent):
    gateway, ledger = sent
    assert gateway.stop() == 0
    assert Verdict(ledger, gateway.file).code == 0
    lines = gateway.file.read_bytes().splitlines(keepends=True)
    gateway.file.write_bytes(b"".join(lines[:-7])[:-20])  # seven lines, and the end of the eighth
    v = Verdict(ledger, gateway.file)
    assert (v.code, v.total["missing"], v.total["arrived"]) == (1, 8, 292), v.output
    lost = [json.loads(line)["payload"]["load"] for line in lines[-8:]]
    told = {(m["device"], m["seq"]) for m in v.sources[0]["missing"]}
    assert told == {(m["device"], m["seq"]) for m in lost}


def test_deleted_records_of_a_topic_are_caught(sluice, kafka, tmp_path):
    from confluent_kafka import TopicPartition
    from confluent_kafka.admin import AdminClient

    name, ledger = f"verify-{uuid.uuid4().hex[:8]}", tmp_path / "ledger"
    kafka.create_topic(name, 2)
    gateway = sluice({**CONFIG, "sinks": {"kafka": {"brokers": kafka.bootstrap, "topic": name}}})
    run(target(gateway, "tcp"), "-n", 400, "-c", 8, "--ledger", ledger)
    settled(gateway)
    assert gateway.stop() == 0
    source = f"kafka://{kafka.bootstrap}/{name}"
    assert Verdict(ledger, source).code == 0
    full = max(range(2), key=lambda p: sum(m.partition() == p for m in kafka.consume(name, 400)))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    for done in admin.delete_records([TopicPartition(name, full, 30)]).values():
        done.result(30)
    v = Verdict(ledger, source)
    assert (v.code, v.total["missing"], v.total["arrived"]) == (1, 30, 370), v.output + v.errors


def test_doubles_strangers_and_dead_letters_are_counted_apart(sent, tmp_path):
    gateway, ledger = sent
    assert gateway.stop() == 0
    lines = gateway.file.read_text().splitlines(keepends=True)
    run_name = json.loads(ledger.read_text().splitlines()[0])["run"]
    stranger = lines[0].replace(run_name, "another")
    gateway.file.write_text("".join([*lines[:-1], lines[0], stranger]))
    dead = tmp_path / "dead.ndjson"
    dead.write_text(json.dumps({"reason": "mapping", "record": json.loads(lines[-1])}) + "\n")
    v = Verdict(ledger, gateway.file)
    assert (v.code, v.total["missing"], v.total["twice"], v.sources[0]["foreign"]) == (1, 1, 1, 1), v.output
    v = Verdict(ledger, gateway.file, "--dead", dead)
    assert (v.code, v.total["missing"], v.total["dead"], v.total["twice"]) == (0, 0, 1, 1), v.output
    v = Verdict(ledger, gateway.file, "--dead", dead, "--once")
    assert v.code == 1 and v.sources[0]["twice"] == [{k: json.loads(lines[0])["payload"]["load"][k] for k in ("device", "seq")}]


def test_standard_input_and_directories(sent):
    gateway, ledger = sent
    assert gateway.stop() == 0
    assert Verdict(ledger, gateway.file.parent).total["arrived"] == 300
    with open(gateway.file) as file:
        done = subprocess.run([LOAD, "verify", "--ledger", ledger, "-"], stdin=file, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and re.search(r"tcp +3 +300 +300 +300 +0 ", done.stdout), done.stdout


def test_ledgers_of_several_machines_go_together_if_their_devices_differ(sluice, tmp_path):
    gateway = sluice(CONFIG)
    ledgers = {name: tmp_path / f"{name}.ledger" for name in ("a", "b", "a2")}
    for name, ledger in ledgers.items():
        run(target(gateway, "tcp"), "-c", 2, "-n", 100, "--run", "both", "--name", f"{name[0]}-{{n}}", "--ledger", ledger)
    assert gateway.stop() == 0
    v = Verdict(ledgers["a"], "--ledger", ledgers["b"], gateway.file)
    assert (v.code, v.total["devices"], v.total["arrived"]) == (0, 4, 200), v.output
    v = Verdict(ledgers["a"], "--ledger", ledgers["a2"], gateway.file)
    assert v.code == 2 and "device a-000000 is in another ledger" in v.errors, v.output


def test_json_is_whole_when_a_source_cannot_be_read(sent, tmp_path):
    gateway, ledger = sent
    assert gateway.stop() == 0
    told, none = tmp_path / "told.json", tmp_path / "none.ndjson"
    line = [LOAD, "verify", "--ledger", ledger, gateway.file, none, gateway.file, "--json"]
    done = subprocess.run([*line, told], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "not everything could be read" in done.stdout
    first, second, third = json.loads(told.read_text())
    assert second == {"source": str(none), "error": f"{none}: No such file or directory"}
    assert first == third and first["total"]["arrived"] == 300
    done = subprocess.run([*line, "-"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and json.loads(done.stdout) == [first, second, third] and "MISSING" in done.stderr
    done = subprocess.run([*line, tmp_path / "no" / "told.json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "told.json: cannot be written" in done.stderr and "MISSING" not in done.stdout


def test_what_cannot_be_read_is_an_error_and_no_verdict(sent, kafka, search, free_port, tmp_path):
    gateway, ledger = sent
    garbage = tmp_path / "garbage"
    garbage.write_text("{}\n")
    for args, words in {
        (): "nothing to read back",
        (tmp_path / "none.ndjson",): "No such file",
        ("ftp://x/y",): "neither a file",
        (f"kafka://{kafka.bootstrap}",): "must be kafka://",
        (f"kafka://{kafka.bootstrap}/not-there",): "not-there",
        (f"{search.url}/not-there",): "404",
        (f"http://127.0.0.1:{free_port()}/x",): "onnect",
        ("--ledger", garbage, gateway.file): "not a ledger",
    }.items():
        v = Verdict(ledger, *args)
        assert v.code == 2 and words in v.errors, (args, v.code, v.errors)


@pytest.mark.parametrize("which, answer, words", [
    ("_refresh", {"_shards": {"total": 2, "successful": 1, "failed": 1}}, "1 shards failed"),
    ("_search?", {"_shards": {"total": 2, "successful": 1, "failed": 1}}, "1 shards failed"),
    ("_search?", {"timed_out": True}, "timed out"),
    ("_search/scroll", {"_shards": {"total": 2, "successful": 1, "failed": 1}}, "1 shards failed"),
    ("_search/scroll", {"_shards": None}, "not the answer of a search server"),
    ("nothing", {}, ""),
])
def test_an_incomplete_answer_of_a_search_is_an_error_and_no_verdict(sent, which, answer, words):
    """A real server cannot be made to lose a shard in the middle of a scroll at will: this one answers as it would."""
    gateway, ledger = sent
    records = [json.loads(line) for line in gateway.file.read_text().splitlines()]
    pages = [records[:50], records[50:], []]

    class Server(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            told = {"_shards": {"total": 2, "successful": 2, "failed": 0}}
            if "_search" in self.path:
                told |= {"_scroll_id": "s", "timed_out": False}
                told["hits"] = {"hits": [{"_source": {"payload": {"load": r["payload"]["load"]}}} for r in pages.pop(0)]}
            body = json.dumps(told | (answer if which in self.path else {}), separators=(",", ":")).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_DELETE = do_POST

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            v = Verdict(ledger, f"http://127.0.0.1:{server.server_address[1]}/telemetry")
        finally:
            server.shutdown()
            thread.join()
    if words:
        assert v.code == 2 and words in v.errors and "MISSING" not in v.output, (v.code, v.output, v.errors)
    else:
        assert v.code == 0 and v.total["arrived"] == len(records)
