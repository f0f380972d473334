"""journal: spill - nothing on disk while the sinks keep up, everything on disk when they do not."""

import json
import re

from conftest import merge, wait_until
from numbered import TcpDevice
from services import Kafka

SPILL = {"journal": {"type": "spill", "spill_after": "300ms"}, "listeners": {"tcp": {"reply": "count"}}}


def written_bytes(s):
    """What the whole process caused to be written to disk."""
    with open(f"/proc/{s.pid}/io", encoding="ascii") as file:
        return int(re.search(r"^write_bytes: (\d+)", file.read(), re.M).group(1))


def rests(s):
    return "records are held in memory" in s.log()


def test_short_form(sluice):
    s = sluice({"journal": "spill"})
    s.wait_log("records are held in memory")


def test_steady_state_writes_no_byte(sluice):
    s = sluice(merge(SPILL, {"sinks": {"null": {"type": "null"}, "file": None}}))
    wait_until(lambda: rests(s), 10, "the journal rests")
    device = TcpDevice(s, rate=3000)
    device.start()
    wait_until(lambda: len(device.acked) > 300, 20, "acknowledgements")
    before, journal = written_bytes(s), s.metrics().sum("sluice_journal_written_bytes_total")
    seen = len(device.acked)
    wait_until(lambda: len(device.acked) > seen + 5000, 30, "5,000 more acknowledgements")
    assert s.metrics().sum("sluice_journal_written_bytes_total") == journal
    assert written_bytes(s) == before
    device.finish()
    assert not device.errors
    assert s.metrics().sum("sluice_journal_spills_total") == 0


def test_kafka_away_then_killed_then_back(sluice, tmp_path):
    """What is acknowledged while Kafka is away is on disk: kill -9 loses nothing of it."""
    broker = Kafka(tmp_path)
    try:
        topic = broker.create_topic("spill")
        s = sluice(merge(SPILL, {"sinks": {"file": None, "kafka": {
            "brokers": broker.bootstrap, "topic": topic, "backoff_max": "500ms"}}}))
        wait_until(lambda: rests(s), 10, "the journal rests")
        device = TcpDevice(s, rate=2000)
        device.start()
        wait_until(lambda: len(device.acked) > 1000, 30, "acknowledgements while all is well")
        with broker.paused():
            s.wait_metric("sluice_journal_spilled", 1, 20)
            seen = len(device.acked)
            wait_until(lambda: len(device.acked) > seen + 2000, 30, "acknowledgements while Kafka is away")
            s.kill()
        s.start()
        wait_until(lambda: len(device.acked) > seen + 4000, 30, "acknowledgements after the crash")
        device.finish(60)
        assert not device.errors

        def arrived(messages):
            return device.acked <= {json.loads(m.value())["payload"]["n"] for m in messages}
        broker.consume(topic, arrived, 60)
    finally:
        broker.stop()
