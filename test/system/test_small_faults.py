"""What an operator reads: that it names the right thing, and that the documents name what is there."""

import signal
import subprocess

from conftest import wait_until
from harness import ROOT, send_lines, tcp_config


def test_a_second_signal_is_logged_before_it_exits(sluice, tmp_path):
    """A sink that takes nothing keeps the first one waiting."""
    es = {"type": "elasticsearch", "nodes": "http://127.0.0.1:1"}
    gw = sluice({**tcp_config({"es": es}), "stop": {"drain": "60s"}}, defaults=False)
    send_lines(gw, [{"device": "d", "n": 1}])
    gw.signal(signal.SIGTERM)
    wait_until(lambda: any("stopping" in e["message"] or "stop" in e["message"] for e in gw.log_events()), 20, "it is stopping")
    gw.signal(signal.SIGHUP)  # cuts nothing short
    gw.signal(signal.SIGTERM)
    assert gw.wait_exit(20) == 3
    assert "a second signal: exits at once" in gw.log()


def test_a_forgotten_sink_has_its_own_name_in_the_log(sluice):
    gw = sluice(tcp_config({"gone": {"type": "file", "path": "a"}, "file": {"path": "b"}}), defaults=False)
    send_lines(gw, [{"device": "d", "n": 1}])
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, 20, "both sinks have everything")
    del gw.config["sinks"]["gone"]
    gw.restart()
    event = next(e for e in gw.log_events() if e["message"].startswith("forgets a sink"))
    assert event["sink.name"] == "gone"


def test_the_check_of_documents_finds_metrics_that_do_not_exist(sluice, tmp_path):
    program = sluice(start=False).program
    page = tmp_path / "page.md"

    def check(text):
        page.write_text(text)
        return subprocess.run([ROOT / "test" / "doc_names.py", program, page], capture_output=True, text=True, timeout=60)
    assert check("`sluice_sink_up`, sluice_ack_duration_seconds_bucket, sluice_sink_*, validator_sluice_us").returncode == 0
    done = check("one\n`sluice_sink_upp`\n")
    assert done.returncode == 1 and f"{page}:2: sluice_sink_upp" in done.stderr
