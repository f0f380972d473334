"""Running it: configuration errors, start and stop, probes, metrics, and sinks that come and go."""

import contextlib
import fcntl
import json
import os
import re
import signal
import socket
import subprocess
import threading

import pytest
from conftest import wait_until
from numbered import HttpDevice, MqttDevice, TcpDevice, fleet

CLOSED = "127.0.0.1:9"  # the discard port: nothing listens there
SINK_DOWN = {"sinks": {"kafka": {"brokers": CLOSED}}}


def post(gateway, payload=b"{}", device="d1", listener="http"):
    import httpx

    return httpx.post(gateway.url(f"/v1/telemetry/{device}", listener), content=payload, trust_env=False, timeout=20,
                      headers={"Content-Type": "application/json"})


def tcp_lines(gateway, count, listener="tcp", device="d1"):
    """Sends count lines and waits until they are safe (reply: count)."""
    with socket.create_connection(gateway.address(listener), timeout=20) as s:
        s.sendall(b"".join(b'{"device":"%s","n":%d}\n' % (device.encode(), n) for n in range(count)))
        answer = b""
        while b"ok %d\n" % count not in answer:
            more = s.recv(4096)
            assert more, answer
            answer += more


# ---- the command line ------------------------------------------------------------------------------------------------


def check(gateway, text):
    gateway.config_path.write_text(text)
    return gateway.command("--check", gateway.config_path)


@pytest.fixture
def idle(sluice):
    """A gateway that is not started: to run commands with."""
    return sluice(start=False)


def test_check_accepts_a_good_file(idle):
    done = idle.command("--check", idle.config_path)
    assert done.returncode == 0 and "good" in done.stdout, done


def test_check_tells_all_errors_of_a_file_at_once_with_their_places(idle):
    done = check(idle, """
journal:
  max_bytes: 12 parsecs
  sement: 16MiB
listeners:
  mqtt:
    listen: nowhere
  sensors:
    protocol: mqqt
  tcp: {}
sinks:
  file: {rotate_bytes: -1}
log:
  level: loud
  level: info
""".lstrip())
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    for place, wanted in [
        ("2:14", ["journal.max_bytes", '"12 parsecs"', "1MiB to 1000TB"]),
        ("3:3", ["journal.sement", "segment?"]),
        ("6:13", ["listeners.mqtt.listen", '"nowhere"', "HOST:PORT"]),
        ("8:15", ["listeners.sensors.protocol", '"mqqt"', "mqtt?"]),
        ("9:3", ["listeners.tcp.device", "must be given"]),
        ("11:24", ["sinks.file.rotate_bytes", '"-1"']),
        ("13:10", ["log.level", '"loud"', "debug"]),
        ("14:3", ["log.level", "twice", "line 13"]),
    ]:
        line = [text for text in lines if text.startswith(f"{idle.config_path}:{place}: ")]
        assert line and all(word in line[0] for word in wanted), (place, wanted, done.stderr)
    assert len(lines) == 8, done.stderr


@pytest.mark.parametrize(("text", "wanted"), [
    ("listeners: {tcp: {device: peer}}\nsinks: {file: {}}\njournal: {type: memory}\n",
     ["listeners.tcp", "durable", "memory", "ack: delivered"]),
    ("listeners: {tcp: {device: peer, ack: delivered, delivered_to: nope}}\nsinks: {file: {}}\n",
     ["listeners.tcp", "delivered_to", '"nope"']),
    ("listeners: {tcp: {device: peer, delivered_to: file}}\nsinks: {file: {}}\n", ["delivered_to", "ack: delivered"]),
    ("listeners: {tcp: {device: peer, when_full: drop_oldest}}\nsinks: {file: {}}\n",
     ["listeners.tcp", "when_full", "drop_oldest", "ack: accepted"]),
    ("listeners: {tcp: {device: peer, when_full: drop}}\nsinks: {file: {}}\n", ["when_full", '"drop"', "refuse", "drop_oldest"]),
    ("journal: {low_water: 95%}\nlisteners: {tcp: {device: peer}}\nsinks: {file: {}}\n",
     ["journal.low_water", "95%", "high_water", "90%"]),
    ("listeners: {mqtt: {listen: '127.0.0.1:1883'}, http: {listen: '127.0.0.1:1883'}}\nsinks: {file: {}}\n",
     ["listeners.http", "listeners.mqtt", "127.0.0.1", "1883", "another port"]),
    ("listeners: {tcp: {device: peer, listen: '[::]:9480', anonymous: true}}\nsinks: {file: {}}\n",
     ["listeners.tcp", "admin.listen", "9480", "another port"]),
    ("listeners: {coap: {threads: 2}}\nsinks: {file: {}}\n", ["threads", "at most 1"]),
    ("listeners: {http: {listen: '0.0.0.0:8080'}}\nsinks: {file: {}}\n", ["anonymous: true"]),
    ("listeners: {tcp: {device: peer, time: {pointer: ts}}}\nsinks: {file: {}}\n", ["time.pointer", "/ts"]),
    ("listeners: {tcp: {device: peer}}\nsinks: {file: {}}\ndata: ${SLUICE_TEST_UNSET}\n", ["SLUICE_TEST_UNSET"]),
    ("listeners: {tcp: {device: peer}}\nsinks: {file: {}}\njournal: {segment: 1MiB, block: 1MiB}\n",
     ["journal.block", "journal.segment"]),
    ("listeners: {tcp: {device: peer, lane: 8MiB}}\nsinks: {file: {}}\njournal: {segment: 2MiB}\n",
     ["listeners.tcp", "lane", "journal.segment"]),
    ("listeners: {tcp: {device: peer}}\n", ["sinks", "none"]),
    ("sinks: {file: {}}\n", ["listeners", "none"]),
    ("listeners: [\n", ["2:1", "not valid YAML"]),
    ("", ["listeners"]),
])
def test_check_refuses_what_cannot_work(idle, text, wanted):
    done = check(idle, text)
    assert done.returncode == 2 and all(word in done.stderr for word in wanted), done


@pytest.mark.parametrize("text", [
    "listeners: {coap: {listen: '127.0.0.1:5683'}, mqtt: {listen: '127.0.0.1:5683'}}\nsinks: {file: {}}\n",
    "listeners: {coap: {listen: '127.0.0.1:9480'}}\nsinks: {file: {}}\n",
    "listeners: {mqtt: {listen: '127.0.0.1:0'}, http: {listen: '127.0.0.1:0'}}\nsinks: {file: {}}\nadmin: {listen: '127.0.0.1:0'}\n",
    "listeners: {mqtt: {listen: '127.0.0.1:9480'}}\nsinks: {file: {}}\nadmin: {enabled: false}\n",
    "listeners: {mqtt: {listen: '127.0.0.1:1883'}, http: {listen: '[::1]:1883'}}\nsinks: {file: {}}\n",
], ids=["udp-and-tcp", "udp-and-admin", "port-0", "admin-off", "other-address"])
def test_check_takes_addresses_that_go_together(idle, text):
    done = check(idle, text)
    assert done.returncode == 0, done


def test_environment_variables_act_where_the_file_names_them(sluice):
    gw = sluice({"listeners": {"http": {"ack": "${ACK:-durable}"}}}, env={"ACK": "accepted"})
    assert post(gw).status_code == 202


def test_run_with_a_bad_file_ends_with_2_and_the_same_errors(idle):
    idle.config_path.write_text("listeners: {tpc: {}}\nsinks: {file: {}}\n")
    done = idle.command("--config", idle.config_path)
    assert done.returncode == 2 and "1:13" in done.stderr and "tcp" in done.stderr, done


def test_exit_codes_of_the_command_line(idle):
    assert idle.command("--check", "/nonexistent.yaml").returncode == 2
    assert idle.command("--check").returncode == 2
    assert idle.command("--unknown").returncode == 2
    assert idle.command("unknown").returncode == 2
    assert idle.command("cursor").returncode == 2
    assert idle.command("health", "--config", idle.config_path).returncode == 1, "nothing runs"
    assert idle.command("--help").returncode == 0


def test_version_names_the_libraries(idle):
    done = idle.command("--version")
    assert done.returncode == 0 and done.stdout.startswith("sluice ")
    for library in ("libmicrohttpd", "libcoap", "librdkafka", "libcurl", "OpenSSL", "libevent", "cJSON", "libyaml",
                    "jemalloc"):
        assert re.search(rf"^{library}\b.*\d+\.\d+", done.stdout, re.M), (library, done.stdout)


def test_help_config_lists_settings_in_three_shapes(idle):
    text = idle.command("--help-config")
    markdown, example = idle.command("--help-config=markdown"), idle.command("--help-config=yaml")
    for done in (text, markdown, example):
        assert done.returncode == 0
        for key in ("max_bytes", "delivered_to", "stall_timeout", "sync_interval", "brokers"):
            assert key in done.stdout
    assert idle.command("--help-config=html").returncode == 2


def test_the_commented_example_is_a_good_file_once_uncommented(idle):
    """Each line `#key: value` is a setting at its default; taken as they are they must be accepted."""
    example = idle.command("--help-config=yaml").stdout
    lines = [re.sub(r"^( *)#(?!#)", r"\1", line) for line in example.splitlines() if "##" not in line]
    text = "\n".join(line for line in lines if "# not set" not in line).replace("...   # must be given", "127.0.0.1:1")
    text = re.sub(r"^(  tcp:\n(?:    .*\n)*?    device:).*", r"\1 peer", text, flags=re.M)
    done = check(idle, text)
    assert done.returncode == 0, done.stderr


# ---- start -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listener", ["mqtt", "tcp", "http", "coap", "admin"])
def test_an_address_in_use_is_told_with_listener_address_and_setting(sluice, listener):
    gw = sluice(start=False)
    address = gw.config["admin"]["listen"] if listener == "admin" else gw.config["listeners"][listener]["listen"]
    kind = socket.SOCK_DGRAM if listener == "coap" else socket.SOCK_STREAM
    with socket.socket(socket.AF_INET, kind) as taken:
        host, port = address.rsplit(":", 1)
        taken.bind((host, int(port)))
        if listener != "coap":
            taken.listen()
        gw.start(wait=None)
        assert gw.wait_exit() == 1
    setting = "admin" if listener == "admin" else f"listeners.{listener}"
    told = [e["error.message"] for e in gw.log_events() if e.get("message") == "cannot start"]
    assert len(told) == 1 and f"{setting}: listen: " in told[0].replace("admin.listen", "admin: listen"), told
    assert host in told[0] and port in told[0] and "in use" in told[0], told


@pytest.mark.parametrize("listener", ["mqtt", "tcp", "http"])
def test_threads_do_not_share_a_port_with_another_gateway(sluice, listener):
    gw = sluice({"listeners": {listener: {"threads": 2}}})
    other = sluice({"listeners": {listener: {"threads": 2, "listen": gw.config["listeners"][listener]["listen"]}}}, start=False)
    other.start(wait=None)
    assert other.wait_exit() == 1
    assert f"listeners.{listener}: listen: " in other.log() and "another program or listener has it" in other.log()


def test_a_second_process_on_the_same_data_is_refused(sluice):
    gw = sluice()
    other = sluice({"data": str(gw.data)}, start=False)
    other.start(wait=None)
    assert other.wait_exit() == 1
    assert "in use by another process" in other.log() and str(gw.data) in other.log()
    assert post(gw).status_code == 204, "the first is not disturbed"


def test_a_data_directory_that_cannot_be_made_is_told(sluice, tmp_path):
    (tmp_path / "file").write_text("")
    gw = sluice({"data": str(tmp_path / "file" / "data")}, start=False)
    gw.start(wait=None)
    assert gw.wait_exit() == 1 and str(tmp_path / "file") in gw.log(), gw.log()


def test_two_listeners_of_one_protocol_and_two_sinks_of_one_kind(sluice, tmp_path):
    gw = sluice({"listeners": {"yard": {"protocol": "http"}, "hall": {"protocol": "tcp", "device": "peer"}},
                 "sinks": {"copy": {"type": "file", "path": str(tmp_path / "copy.ndjson"), "sync_interval": "10ms"}}})
    assert post(gw).status_code == 204 and post(gw, listener="yard").status_code == 204
    with socket.create_connection(gw.address("hall")) as s:
        s.sendall(b"1\n")
    wanted = {"http", "yard", "hall"}
    for path in (None, tmp_path / "copy.ndjson"):
        wait_until(lambda p=path: {r["sluice"]["listener"] for r in gw.records(p)} == wanted, what=f"all in {path}")
    assert gw.metrics().sum("sluice_messages_accepted_total", listener="yard", protocol="http") == 1


# ---- stop ------------------------------------------------------------------------------------------------------------


def test_sigterm_under_load_loses_nothing_acknowledged(sluice):
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}})
    devices = fleet(gw)
    for device in devices:
        device.start()
    wait_until(lambda: all(len(d.acked) > 100 for d in devices), 30, "all send")
    assert gw.stop(timeout=10) == 0
    for device in devices:
        device.quiet()
        assert not device.errors, (device.device, device.errors[:3])
    have = {(r["device"]["id"], r["payload"]["n"]) for r in gw.records()}
    for device in devices:
        missing = [n for n in device.acked if (device.device, n) not in have]
        assert not missing, f"{device.device}: {len(missing)} acknowledged messages are not in the file: {missing[:5]}"
    assert "sluice.sinks_behind\":0" in gw.log()


def test_sigterm_leaves_in_the_journal_what_a_sink_could_not_take(sluice, kafka, free_port):
    topic = kafka.create_topic("stays-in-the-journal")
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}, "stop": {"drain": "600ms"},
                 "sinks": {"kafka": {"brokers": CLOSED, "topic": topic}}})
    tcp_lines(gw, 100)
    gw.wait_records(100)
    assert gw.stop(timeout=5) == 0
    behind = [e for e in gw.log_events() if e.get("sluice.sink.lag_records")]
    assert [(e["sink.name"], e["sluice.sink.lag_records"]) for e in behind] == [("kafka", 100)]
    listed = gw.command("cursor", "list", "--config", gw.config_path)
    assert listed.returncode == 0 and re.search(r"kafka\s.* 100 records behind", listed.stdout), listed
    gw.config["sinks"]["kafka"]["brokers"] = kafka.bootstrap
    gw.restart()
    messages = kafka.consume(topic, 100)
    assert sorted(json.loads(m.value())["payload"]["n"] for m in messages) == list(range(100))


def test_a_second_sigterm_ends_it_at_once_with_3(sluice):
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}, "stop": {"drain": "1h"}, **SINK_DOWN})
    tcp_lines(gw, 10)
    gw.signal(signal.SIGTERM)
    wait_until(lambda: "not draining" in gw.admin_get("/readyz?verbose")[1] and gw.status("/readyz") == 503,
               what="it drains")
    assert gw.status("/livez") == 200
    assert gw.running()
    gw.signal(signal.SIGTERM)
    assert gw.wait_exit(timeout=2) == 3
    gw.config["stop"]["drain"] = "100ms"
    gw.restart()
    gw.wait_records(10)


def test_sighup_changes_nothing_also_while_it_stops(sluice):
    """A supervisor may send it behind SIGTERM (systemd: SendSIGHUP=), and a terminal that closes does."""
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}, "stop": {"drain": "1h"}, **SINK_DOWN})
    with socket.create_connection(gw.address("tcp"), timeout=10) as s:
        for n in range(1000):
            gw.signal(signal.SIGHUP)
            s.sendall(b"%d\n" % n)
        answers = s.makefile("rb")
        while (line := answers.readline()) != b"ok 1000\n":
            assert line.startswith(b"ok ")
    gw.wait_log("restart to change it")
    gw.signal(signal.SIGTERM)
    wait_until(lambda: "not draining" in gw.admin_get("/readyz?verbose")[1], what="it drains")
    gw.signal(signal.SIGHUP)
    assert gw.status("/livez") == 200 and gw.running()
    gw.signal(signal.SIGTERM)
    assert gw.wait_exit(timeout=2) == 3


def test_sigterm_waits_for_messages_that_are_not_acknowledged_yet(sluice):
    """Stopping closes the door, but what came in before is answered: the client sees no lost acknowledgement."""
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}})
    with socket.create_connection(gw.address("tcp"), timeout=10) as s:
        s.sendall(b"1\n" * 20000)
        s.recv(1)
        gw.signal(signal.SIGTERM)
        answers = b""
        while data := s.recv(65536):
            answers += data
    assert gw.wait_exit() == 0
    safe = int(answers.split()[-1])
    assert len(gw.records()) >= safe


# ---- probes and metrics ----------------------------------------------------------------------------------------------


def test_probes_and_the_health_command(sluice):
    gw = sluice()
    assert gw.status("/livez") == 200 and gw.status("/readyz") == 200
    status, text = gw.admin_get("/readyz?verbose")
    assert status == 200
    for name in ("mqtt", "coap", "tcp", "http"):
        assert f"[+] listener {name} on 127.0.0.1:{gw.port(name)}" in text
    assert "[+] sink file" in text
    assert gw.status("/") == 404
    assert gw.command("health", "--config", gw.config_path).returncode == 0
    assert gw.command("health", "--ready", "--config", gw.config_path).returncode == 0
    gw.signal(signal.SIGSTOP)
    try:
        assert gw.command("health", "--config", gw.config_path, timeout=30).returncode == 1, "it does not answer"
    finally:
        gw.signal(signal.SIGCONT)
    assert gw.stop() == 0
    assert gw.command("health", "--config", gw.config_path).returncode == 1


def test_a_sink_that_is_down_does_not_make_it_unready(sluice):
    gw = sluice(SINK_DOWN)
    wait_until(lambda: "[!] sink kafka" in gw.admin_get("/readyz?verbose")[1], what="the sink's trouble is told")
    assert gw.status("/readyz") == 200 and gw.status("/livez") == 200
    assert gw.metrics()['sluice_sink_up{sink="kafka",type="kafka"}'] == 0
    assert post(gw).status_code == 204
    gw.wait_records(1)
    gw.config["stop"] = {"drain": "100ms"}
    gw.expected_to_end = True
    gw.kill()


def test_the_admin_page_survives_nonsense(sluice):
    gw = sluice()
    host, port = gw.config["admin"]["listen"].rsplit(":", 1)
    for junk in (b"\0" * 1000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10000, b"GET /metrics HTTP/9.9\r\n\r\n",
                 b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
                 b"DELETE /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /%00%zz/../../etc/passwd HTTP/1.0\r\n\r\n"):
        with socket.create_connection((host, int(port)), timeout=0.5) as s:
            try:
                s.sendall(junk)
                s.shutdown(socket.SHUT_WR)
                answer = s.recv(65536)
            except OSError:  # closed on us already
                continue
            assert b" 200 " not in answer.split(b"\r\n")[0] or junk.startswith(b"GET /metrics"), (junk[:40], answer)
    assert gw.status("/livez") == 200, "it still answers"


def test_probes_are_answered_while_somebody_else_holds_connections_open(sluice):
    """Otherwise whoever reaches the admin port could have the gateway restarted."""
    gw = sluice()
    host, port = gw.config["admin"]["listen"].rsplit(":", 1)
    held = []
    try:
        for _ in range(200):
            held.append(socket.create_connection((host, int(port)), timeout=5, source_address=("127.0.0.2", 0)))
        assert gw.status("/livez") == 200
        assert gw.command("health", "--config", gw.config_path).returncode == 0
        assert all(json.loads(line) for line in gw.log().splitlines()), "whoever reaches it writes nothing into the log"
    finally:
        for s in held:
            s.close()


def test_who_does_not_read_the_log_stops_nothing(sluice):
    """Its reader (a container's, journald) may stand still: lines are lost then, and counted, and nothing waits for them."""
    gw = sluice(start=False)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    filler = os.open(f"/proc/self/fd/{writer}", os.O_WRONLY | os.O_NONBLOCK)
    gw.proc = subprocess.Popen([gw.program, "--config", gw.config_path], stdin=subprocess.DEVNULL, stdout=writer, stderr=writer)
    os.close(writer)
    read = bytearray()
    wait_until(lambda: read.extend(os.read(reader, 4096)) or b'"ready"' in read, what="it is ready")
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(filler, b"x")
    for _ in range(3):
        with socket.create_connection(gw.address("mqtt"), timeout=5) as s:
            s.sendall(b"\0\0")  # no MQTT, which is told in the log
            assert s.recv(1) == b""
    gw.wait_metric("sluice_log_lines_lost_total", 1)
    assert post(gw).status_code == 204
    assert gw.stop() == 0
    os.close(filler)
    os.close(reader)


def test_metrics_follow_the_conventions_and_name_no_device(sluice):
    gw = sluice({"listeners": {"tcp": {"reply": "count", "include": ["source"]}}})
    devices = [TcpDevice(gw, "very-secret-device-1", rate=200), MqttDevice(gw, "very-secret-device-2", rate=200),
               HttpDevice(gw, "very-secret-device-3", rate=200)]
    for device in devices:
        device.start()
    wait_until(lambda: all(len(d.acked) > 10 for d in devices), what="messages are acknowledged")
    post(gw, b"not json", device="very-secret-device-4")
    for device in devices:
        device.finish()
    metrics = gw.metrics()
    done = subprocess.run(["promtool", "check", "metrics"], input=metrics.text, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert "secret" not in metrics.text and "127.0.0.1" not in metrics.text and "devices/" not in metrics.text
    names = set(re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?(?:\{| )", metrics.text, re.M))
    assert all(name.startswith(("sluice_", "process_")) for name in names), names
    labels = {label for block in re.findall(r"\{(.*)\}", metrics.text) for label in re.findall(r'(\w+)="', block)}
    assert labels - {"version"} <= {"listener", "protocol", "sink", "type", "reason", "le"} | \
        {label for label in labels if f'{label}="' in next(
            line for line in metrics.text.splitlines() if line.startswith("sluice_build_info{"))}, labels
    for device in devices:
        assert metrics.sum("sluice_messages_accepted_total", protocol=device.protocol) == len(device.sends)
        assert metrics.sum("sluice_ack_duration_seconds_count", protocol=device.protocol) > 0
    assert metrics.sum("sluice_messages_refused_total", reason="invalid_payload") == 1
    documented = set(re.findall(r"`((?:sluice|process)_\w+)`", gw.command("--help-metrics").stdout))
    histograms = {f"{name}{suffix}" for name in documented for suffix in ("", "_bucket", "_sum", "_count")}
    seen = set(re.findall(r"^((?:sluice|process)_\w+)", metrics.text, re.M))
    assert seen <= histograms, seen - histograms


def test_logs_are_json_lines_with_ecs_keys_and_hold_no_payloads(sluice):
    gw = sluice({"log": {"level": "debug"}})
    post(gw, b'{"password":"hunter2"}', device="d\"\\\xc3\xa9")
    post(gw, b"hunter2")
    gw.wait_records(1)
    assert gw.stop() == 0
    for line in gw.log().splitlines():
        event = json.loads(line)
        assert {"@timestamp", "log.level", "message"} <= event.keys(), line
    assert "hunter2" not in gw.log()


# ---- sinks that come and go ------------------------------------------------------------------------------------------


def test_a_sink_with_undelivered_records_must_be_dropped_by_name(sluice):
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}, "stop": {"drain": "100ms"}, **SINK_DOWN})
    tcp_lines(gw, 50)
    gw.wait_records(50)
    assert gw.command("cursor", "drop", "kafka", "--config", gw.config_path).returncode == 1, "it runs"
    assert gw.stop() == 0
    del gw.config["sinks"]["kafka"]
    gw.write_config()
    gw.start(wait=None)
    assert gw.wait_exit() == 2
    told = [e["error.message"] for e in gw.log_events() if e.get("message") == "cannot start"]
    assert "kafka (50 records)" in told[-1] and "sluice cursor drop" in told[-1], told
    assert gw.command("cursor", "drop", "kafak", "--yes", "--config", gw.config_path).returncode == 1
    asked = gw.command("cursor", "drop", "kafka", "--config", gw.config_path)
    assert asked.returncode == 2 and "would give up 50 records" in asked.stdout and "--yes" in asked.stdout, asked
    dropped = gw.command("cursor", "drop", "kafka", "--yes", "--config", gw.config_path)
    assert dropped.returncode == 0 and "gave up 50 records" in dropped.stdout, dropped
    gw.start()
    tcp_lines(gw, 1)
    gw.wait_records(51)


def test_a_sink_that_has_everything_may_go(sluice, tmp_path):
    gw = sluice({"sinks": {"copy": {"type": "file", "path": str(tmp_path / "copy"), "sync_interval": "10ms"}}})
    assert post(gw).status_code == 204
    wait_until(lambda: len(gw.records(tmp_path / "copy")) == 1)
    assert gw.stop() == 0
    del gw.config["sinks"]["copy"]
    gw.restart()
    assert "copy" not in gw.command("cursor", "list", "--config", gw.config_path).stdout


@pytest.mark.parametrize(("start", "wanted"), [("oldest", 5), ("now", 2)])
def test_a_new_sink_begins_where_it_is_told(sluice, tmp_path, start, wanted):
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}})
    tcp_lines(gw, 3, device="before")
    gw.wait_records(3)
    assert gw.stop() == 0
    gw.config["sinks"]["new"] = {"type": "file", "path": str(tmp_path / "new"), "from": start, "sync_interval": "10ms"}
    gw.restart()
    tcp_lines(gw, 2, device="after")
    gw.wait_records(5)
    gw.wait_metric("sluice_sink_cursor", 5, sink="new")
    assert [r["device"]["id"] for r in gw.records(tmp_path / "new")] == (["before"] * 3 + ["after"] * 2)[-wanted:]


LARGE_LINE = b'{"device":"d","text":"' + b"x" * 8000 + b'"}\n'
ONE_LANE = {"journal": {"segment": "1MiB", "block": "256KiB"}, "listeners": {
    "tcp": {"reply": "count", "lane": "256KiB", "max_payload": "16KiB"}, "mqtt": None, "coap": None, "http": None}}


def large_lines(gateway, count):
    with socket.create_connection(gateway.address("tcp"), timeout=20) as s:
        for sent in range(32, count + 1, 32):
            s.sendall(LARGE_LINE * 32)
            answer = b""
            while b"ok %d\n" % sent not in answer:
                answer += s.recv(4096)


def test_segments_are_used_again(sluice):
    """Many times what the segments hold goes through the journal; files are neither more nor newer than need be."""
    gw = sluice(ONE_LANE)
    for _ in range(4):
        large_lines(gw, 640)
        wait_until(lambda: gw.metrics().sum("sluice_journal_segments") <= 1, what="the segments are free again")
    metrics = gw.metrics()
    assert metrics.sum("sluice_journal_written_bytes_total") > 20 << 20
    assert metrics.sum("sluice_journal_full_total") == 0
    numbers = [int(p.name[:8]) for p in (gw.data / "journal").glob("*.segment")]
    assert len(numbers) <= 12 and max(numbers) <= 16, numbers


def test_a_new_sink_finds_no_damage_in_segments_that_were_used_again(sluice, tmp_path):
    gw = sluice(ONE_LANE)
    large_lines(gw, 640)
    wait_until(lambda: gw.metrics().sum("sluice_journal_segments") <= 1, what="the segments are free again")
    large_lines(gw, 320)
    gw.wait_records(960)
    assert gw.stop() == 0
    gw.config["sinks"]["new"] = {"type": "file", "path": str(tmp_path / "new"), "sync_interval": "10ms"}
    gw.restart()
    gw.wait_metric("sluice_sink_cursor", 960, sink="new")
    assert gw.metrics().sum("sluice_journal_damaged_ranges_total") == 0, gw.log()
    assert "damage" not in gw.log()
    ids = [r["event"]["id"] for r in gw.records(tmp_path / "new")]
    assert ids and ids == [r["event"]["id"] for r in gw.records()][-len(ids):]


# ---- invalid messages ------------------------------------------------------------------------------------------------


def test_invalid_messages_are_kept_as_dead_letters_where_that_is_wanted(sluice):
    gw = sluice({"listeners": {"http": {"on_invalid": "dead_letter"}, "other": {"protocol": "http"}}})
    assert post(gw, b'{"broken":').status_code == 204
    assert post(gw, b'{"whole":1}').status_code == 204
    assert post(gw, b'{"broken":', listener="other").status_code == 400
    dead = gw.data / "dead" / "intake.ndjson"
    wait_until(lambda: dead.exists() and dead.read_bytes().endswith(b"\n"), what="a dead letter")
    (letter,) = [json.loads(line) for line in dead.read_text().splitlines()]
    assert letter["payload"] == {"text": '{"broken":'} and letter["device"]["id"] == "d1"
    assert letter["sluice"]["error"]["offset"] == 10 and letter["sluice"]["error"]["reason"]
    gw.wait_records(1)
    gw.wait_metric("sluice_messages_dead_total", 1)
    assert [r["payload"] for r in gw.records()] == [{"whole": 1}], "the other sinks do not get it"


def test_invalid_messages_are_refused_when_their_file_has_what_it_may_have(sluice):
    gw = sluice({"listeners": {"http": {"on_invalid": "dead_letter", "max_dead_letters": "2KiB"}}})
    dead = gw.data / "dead" / "intake.ndjson"
    answers = []
    while 400 not in answers:
        answers.append(post(gw, b'{"broken":').status_code)
        assert len(answers) < 50
    kept = answers.count(204)
    assert 2 < kept == len(answers) - 1
    gw.wait_log("invalid messages are refused", 5)
    assert gw.metrics().sum("sluice_messages_refused_total", reason="dead_letters_full") == 1
    assert post(gw, b'{"whole":1}').status_code == 204, "valid ones are taken"
    gw.wait_records(1)
    wait_until(lambda: dead.exists() and dead.read_bytes().count(b"\n") == kept, what="all that were accepted are there")
    assert gw.stop() == 0
    gw.start()
    assert post(gw, b'{"broken":').status_code == 400, "a restart does not forget"
    assert gw.stop() == 0
    assert gw.command("deadletters", "purge", "--sink", "intake", "--yes", "--config", gw.config_path).returncode == 0
    gw.start()
    assert post(gw, b'{"broken":').status_code == 204


def test_invalid_messages_are_wrapped_where_that_is_wanted(sluice):
    gw = sluice({"listeners": {"http": {"on_invalid": "wrap"}}})
    assert post(gw, b'{"broken":').status_code == 204
    assert gw.wait_records(1)[0]["payload"] == {"text": '{"broken":'}


# ---- attack on everything at once ------------------------------------------------------------------------------------


def test_noise_on_every_port_disturbs_nobody(sluice):
    """Random bytes and connections that say nothing or half of something, while a device goes on as if alone."""
    gw = sluice({"listeners": {"tcp": {"reply": "count"}}})
    devices = [MqttDevice(gw, rate=300), HttpDevice(gw, rate=300)]
    for device in devices:
        device.start()
    stop = threading.Event()

    def noise(name):
        while not stop.is_set():
            try:
                if name == "coap":
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                        for _ in range(200):
                            s.sendto(os.urandom(1 + os.urandom(1)[0]), gw.address(name))
                    continue
                with socket.create_connection(gw.address(name), timeout=5) as s:
                    s.settimeout(0.2)
                    begin = {"mqtt": b"\x10\x20\x00\x04MQTT\x04\x02", "http": b"POST /v1/telemetry HTTP/1.1\r\nHost: x\r\n"}
                    s.sendall(begin.get(name, b"") + os.urandom(3000))
                    s.recv(1000)
            except OSError:
                pass

    threads = [threading.Thread(target=noise, args=(name,)) for name in 2 * ("mqtt", "tcp", "http", "coap")]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(len(d.acked) > 600 for d in devices), 30, "the devices are served")
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    for device in devices:
        device.finish()
        assert not device.errors and device.sessions == 1, (device.device, device.sessions, device.errors)
    assert gw.status("/readyz") == 200 and gw.memory() < 200 << 20
    wait_until(lambda: gw.metrics().sum("sluice_sink_lag_records") == 0, what="the file has all")
    have = {(r["device"]["id"], r["payload"].get("n")) for r in gw.records()}
    assert all((d.device, n) in have for d in devices for n in d.acked)
