"""What sluice-load writes: reports that other programs read, conditions, comparisons, and the highest rate that holds."""

import csv
import json
import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from hdrh.histogram import HdrHistogram

LOAD = Path(os.environ.get("SLUICE_BIN", Path(__file__).parents[2] / "build/sluice")).with_name("sluice-load")
CONFIG = {"listeners": {"tcp": {"reply": "count", "device": ["/device"]}}}


def command(*args, code=0):
    done = subprocess.run([LOAD, *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def reports(sluice, tmp_path):
    """A gateway, and the reports of a run against it."""
    gateway = sluice(CONFIG)
    target = "tcp://{}:{}".format(*gateway.address("tcp"))
    files = {kind: tmp_path / f"run.{kind}" for kind in ("json", "html", "csv", "hdr")}
    done = command(target, "-c", 2, "-n", 5000, "--pid", gateway.pid, *(x for k, f in files.items() for x in (f"--{k}", f)))
    return gateway, target, files, done


def test_reports_agree(reports):
    gateway, target, files, done = reports
    result = json.loads(files["json"].read_text())
    assert (result["sent"], result["acknowledged"], result["unacknowledged"]) == (5000, 5000, 0)
    assert result["has_server"] and result["server_bytes_most"] > 1 << 20
    assert "5,000" in done.stdout and "us of CPU a message" in done.stdout and "p99.9" in done.stdout
    rows = list(csv.DictReader(files["csv"].open()))
    assert sum(int(row["acknowledged"]) for row in rows) == 5000
    assert {row["target"] for row in rows} == {target}
    page = files["html"].read_text()
    assert not re.search(r"""(src|href)=["']?(https?:|//)""", page)  # needs nothing from elsewhere
    data = json.loads(re.search(r"const results =\n(.*)\n;\n", page, re.S).group(1))
    assert data[0]["acknowledged"] == 5000 and data[0]["percentiles"][-1][0] == 1


def test_latencies_are_read_by_the_official_library(reports):
    _, _, files, _ = reports
    result = json.loads(files["json"].read_text())
    for text in (result["latency"]["hdr"], files["hdr"].read_text().splitlines()[-1].rsplit(",", 1)[1]):
        histogram = HdrHistogram.decode(text)
        assert histogram.get_total_count() == 5000
        for percentile, name in ((50, "p50_us"), (99, "p99_us")):
            assert histogram.get_value_at_percentile(percentile) == pytest.approx(result["latency"][name], rel=0.002)


def test_conditions_decide_the_exit_status(reports, tmp_path):
    _, target, _, _ = reports
    command(target, "-n", 100, "--quiet", "--fail-if", "errors>0", "--fail-if", "sent<100")
    done = command(target, "-n", 100, "--quiet", "--fail-if", "sent>=100", code=1)
    assert "failed: sent>=100 (it is 100)" in done.stderr
    done = command(target, "-n", 100, "--quiet", "--fail-if", "max<1m", code=1)
    assert re.search(r"failed: max<1m \(it is [\d.]+ [mu]?s\)", done.stderr), done.stderr
    assert "needs --pid" in command(target, "-n", 100, "--fail-if", "memory>1GiB", code=2).stderr
    assert "needs --pid" in command("find", target, "--hold", "cpu<1us", code=2).stderr
    command(target, "-n", 100, "--quiet", "--pid", os.getpid(), "--fail-if", "memory>100GiB")
    assert "there are: p50" in command(target, "-n", 100, "--fail-if", "speed>1", code=2).stderr


def test_a_server_that_acknowledges_nothing_is_not_fast(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        target = "tcp://127.0.0.1:{}".format(silent.getsockname()[1])
        done = command(target, "-n", 5, "--give-up", "2s", "--quiet", "--fail-if", "p99>50ms", code=1)
    assert "failed: p99>50ms (it is not known)" in done.stderr


def test_compare_and_merge(reports, tmp_path):
    _, _, files, _ = reports
    done = command("compare", files["json"], files["json"], "--html", tmp_path / "both.html")
    assert re.search(r"rate +[\d,]+ +[\d,]+ +1\.00x", done.stdout)
    assert "const results" in (tmp_path / "both.html").read_text()
    command("merge", files["json"], files["json"], "--json", tmp_path / "all.json")
    assert json.loads((tmp_path / "all.json").read_text())["acknowledged"] == 10000
    assert "not a report" in command("compare", files["csv"], files["json"], code=2).stderr


def test_runs_of_one_name_are_told_apart(reports, tmp_path):
    _, _, files, _ = reports
    paths = []
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
        paths.append(tmp_path / name / "run.json")
        paths[-1].write_text(files["json"].read_text())
    heading = command("compare", *paths).stdout.splitlines()[0]
    assert re.search(r"1 \S*before/run.json +2 \S*after/run.json$", heading), heading
    heading = command("compare", files["json"], files["json"]).stdout.splitlines()[0]
    assert "1 " in heading and "2 " in heading


def test_never_is_more_acknowledged_than_sent(reports, tmp_path):
    _, target, _, _ = reports
    for n in range(3):
        told = tmp_path / f"warm{n}.json"
        command(target, "-t", "400ms", "--warmup", "300ms", "-w", 1000, "--json", told)
        result = json.loads(told.read_text())
        assert 0 < result["acknowledged"] <= result["sent"]


def test_bursts_are_as_many_as_fit(reports):
    _, target, _, _ = reports
    done = command(target, "--burst", "100:500ms", "-t", "2s", "--json", "-")
    result = json.loads(done.stdout)
    assert result["sent"] == 400
    assert "meant to be" not in done.stderr
    assert "(bars: logarithmic)" in done.stderr


def test_a_limit_of_the_load_tester_is_not_taken_for_the_servers(reports):
    """No machine sends that: the answer says whose limit it was."""
    _, target, _, _ = reports
    done = subprocess.run([LOAD, "find", target, "-t", "300ms", "--warmup", "0s", "--from", "40M", "--most", "80M", "--precision",
                           "0.9", "-w", "100000", "--json", "-"], capture_output=True, text=True, timeout=60)
    found = json.loads(done.stdout)
    limited = [t["limited"] for t in found["tries"] if not t["holds"]]
    lowest = min((t for t in found["tries"] if not t["holds"]), key=lambda t: t["rate"])
    assert any(limited)
    assert (found["limit"] == "load tester") == lowest["limited"]
    assert ("the load tester was the limit:" in done.stderr or "but the load tester was the limit" in done.stderr) == lowest["limited"]


def test_find_stops_where_the_condition_does_not_hold(reports, tmp_path):
    _, target, _, _ = reports
    answer = tmp_path / "find.json"
    command("find", target, "-t", "1s", "--from", 20, "--most", 80, "--hold", "errors==0", "--json", answer)
    found = json.loads(answer.read_text())
    held = [t["rate"] for t in found["tries"] if t["holds"]]  # a busy machine may keep it below the most
    assert found["rate"] == max(held) and found["tries"][0]["rate"] == 20
    assert all(t["rate"] > found["rate"] for t in found["tries"] if not t["holds"])
    done = command("find", target, "-t", "300ms", "--warmup", "0s", "--from", 8, "--hold", "p50<1us", code=1)
    assert "no rate held" in done.stdout


def test_find_has_a_time_of_its_own_and_its_json_stands_alone(reports, free_port):
    _, target, _, _ = reports
    assert "no connection" in command("find", f"tcp://127.0.0.1:{free_port()}", "--hold", "p99<1s", code=1).stderr
    done = command("find", target, "-t", "300ms", "--warmup", "0s", "--from", "0.1k", "--most", "0.1k", "--json", "-")
    assert [t["rate"] for t in json.loads(done.stdout)["tries"]] == [100]
    assert "is the highest" in done.stderr or "the load tester was the limit" in done.stderr  # on a busy machine


def test_less_than_was_meant_to_be_is_told(reports):
    _, target, _, _ = reports
    done = command(target, "-r", "10M", "-t", "500ms", "-w", 10, "--json", "-")
    sent = json.loads(done.stdout)["sent"]
    assert sent < 5000000 and re.search(r"  sent .* a second; 5,\d\d\d,\d\d\d were meant to be", done.stderr), done.stderr
    assert "meant to be" not in re.search(r"  sent .*", command(target, "-n", 50, "-r", 100).stdout)[0]


def test_several_targets_share_what_one_server_used(reports, tmp_path):
    gateway, target, _, _ = reports
    told = tmp_path / "both.json"
    mqtt = "mqtt://{}:{}".format(*gateway.address("mqtt"))
    done = command(target + "#count=500", mqtt + "#count=4000", "--pid", gateway.pid, "--json", told, "--fail-if", "cpu<0us")
    tellers = [r for r in json.loads(told.read_text()) if r["has_server"]]
    assert len(tellers) == 1 and tellers[0]["server_messages"] == 4500
    assert [r["server_cpu_us"] for r in json.loads(told.read_text()) if not r["has_server"]] == [0]
    assert done.stdout.count("us of CPU a message of all targets (4,500)") == 1
    assert len(re.findall(r"^  server ", done.stdout, re.M)) == 1
    assert "a list of 2 reports (a run of several targets)" in command("compare", told, told, code=2).stderr
