"""sluice drain: what an orphaned journal holds comes to the sinks, without listeners."""

import json
import re
import subprocess

import yaml
from conftest import merge, wait_until
from numbered import TcpDevice

AWAY = {"listeners": {"tcp": {"reply": "count"}},
        "sinks": {"file": None, "kafka": {"topic": "drain", "backoff_max": "300ms", "batch_records": 100}}}


def orphan(sluice, free_port, **kafka):
    """A gateway that was killed while its Kafka was away; and the device, whose messages were all acknowledged."""
    s = sluice(merge(AWAY, {"sinks": {"kafka": {"brokers": f"127.0.0.1:{free_port()}", **kafka}}}))
    device = TcpDevice(s, rate=5000)
    device.start()
    wait_until(lambda: len(device.acked) > 2000, 20, "acknowledgements")
    device.finish()
    s.kill()
    return s, device


def configure(s, path, **sinks):
    path.write_text(yaml.safe_dump({**s.config, "sinks": sinks}))
    return path


def test_everything_is_delivered_and_it_exits_with_0(sluice, free_port, kafka, tmp_path):
    s, device = orphan(sluice, free_port)
    topic = kafka.create_topic("drained")
    config = configure(s, tmp_path / "drain.yaml", kafka={"brokers": kafka.bootstrap, "topic": topic})
    done = s.command("--config", config, "drain", timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"drain: \d{4,} records to deliver", done.stdout) and "every sink has everything" in done.stdout
    numbers = {json.loads(m.value())["payload"]["n"] for m in kafka.consume(topic, len(device.acked))}
    assert numbers == device.acked
    again = s.command("--config", config, "drain", timeout=60)
    assert again.returncode == 0 and "drain: 0 records to deliver" in again.stdout


def test_a_sink_that_stays_away_keeps_what_it_has_not_got(sluice, free_port):
    s, device = orphan(sluice, free_port)
    drain = subprocess.Popen([s.program, "--config", s.config_path, "drain"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, cwd=s.dir)
    try:
        lines = [drain.stdout.readline() for _ in range(3)]
        assert "records left (kafka), 0 a second" in lines[2]
        drain.terminate()
        rest = drain.communicate(timeout=30)[0]
    finally:
        drain.kill()
    assert drain.returncode == 1
    assert int(re.search(r"ended early: (\d+) records are left", rest).group(1)) == len(device.acked)


def test_a_journal_that_is_served_or_missing_is_refused(sluice, tmp_path):
    s = sluice()
    served = s.command("--config", s.config_path, "drain")
    assert served.returncode != 0 and "in use by another process" in served.stderr
    missing = s.command("--config", s.config_path, "drain", "--data", tmp_path / "nothing")
    assert missing.returncode == 2 and "there is no journal" in missing.stderr
    assert not (tmp_path / "nothing").exists()
    assert s.command("--data", tmp_path).returncode == 2
