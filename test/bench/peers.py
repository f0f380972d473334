"""The same load to Sluice and to comparable programs, side by side.

    make bench-peers                              every way and program there is; about 12 minutes
    make bench-peers PEERS=file,mqtt1             only these ways
    make bench-peers PEERS=help                   this, and the names there are

Each program is an ordinary process with a configuration of its own in build/; a service that runs already is left
alone. On each way the programs take turns, run by run. Processor time is that of the program from the first connection
until everything arrived (where there is nothing to count: until it is at rest). BENCH_RUNS as for make bench. Writes
build/peers.json and, where a full run of `make bench` lies in build/, docs/benchmarks.md."""

import contextlib
import json
import os
import resource
import shlex
import shutil
import statistics
import subprocess
import sys
import time

import machine
import report
import speed
from machine import cpu_seconds, peak_bytes
from workshop import DEVICES, FILE_SINK, NULL_SINK, Failed, Workshop
from harness import wait_until
from services import Kafka, Mosquitto, Search

NOTHING = "nothing: there is no answer"
MEMORY = "taken into memory"
SYNCED = "on disk, synced"
TCP = "-c", 8, "-w", 1000
HTTP = "-c", 64


class Missing(Exception):
    """A program that is not installed; it is reported as such."""


class Way:
    """What is sent and where it ends."""

    def __init__(self, key, text, options, messages):
        self.key, self.text, self.options = key, text, options
        self.messages = messages  # in one run, by program; "" for those that are not named


WAYS = [
    Way("null", "TCP lines to nothing", TCP, {"": 2_000_000, "Telegraf": 200_000}),
    Way("file", "TCP lines to a file", TCP, {"": 1_000_000, "Telegraf": 200_000}),
    Way("kafka", "TCP lines to Kafka", TCP, {"": 500_000, "Telegraf": 100_000}),
    Way("elasticsearch", "TCP lines to Elasticsearch", TCP, {"": 100_000, "Telegraf": 50_000}),
    Way("mqtt0", "MQTT QoS 0", ("-c", 8, "-q", 0), {"": 1_000_000, "Mosquitto": 300_000}),
    Way("mqtt1", "MQTT QoS 1, window 100", ("-c", 8, "-q", 1, "-w", 100), {"": 1_000_000, "Mosquitto": 200_000}),
    Way("http", "HTTP, one per request, 64 connections", HTTP, {"": 60_000}),
]


class Running:
    """A program under load: pid, url, arrived() (None: nobody can count), promise, more options of sluice-load."""

    def __init__(self, pid, url, arrived, promise, options=()):
        self.pid, self.url, self.arrived, self.promise, self.options = pid, url, arrived, promise, options


def lines_of(path):
    """Counts lines of a growing file, going on where it stopped."""
    state = {"at": 0, "lines": 0}

    def count():
        if path.exists():
            with open(path, "rb") as file:
                file.seek(state["at"])
                while chunk := file.read(1 << 20):
                    state["at"] += len(chunk)
                    state["lines"] += chunk.count(b"\n")
        return state["lines"]
    return count


def _end(shop, way, name):
    """Of Kafka and Elasticsearch: (server, topic or index, arrived)."""
    target = f"{way.key}-{name.lower()}"
    if way.key == "kafka":
        broker = shop.real(Kafka)
        broker.create_topic(target)
        return broker, target, lambda: speed.kafka_count(broker, target)
    node = shop.real(Search)
    return node, target, lambda: node.count(target)


# -- the programs ------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sluice(shop, way):
    listener = "mqtt" if way.key.startswith("mqtt") else "http" if way.key == "http" else "tcp"
    sinks, arrived = NULL_SINK, None
    if way.key == "kafka":
        broker, topic, arrived = _end(shop, way, "Sluice")
        sinks = {"kafka": {"brokers": broker.bootstrap, "topic": topic}}
    elif way.key == "elasticsearch":
        node, index, arrived = _end(shop, way, "Sluice")
        sinks = {"elasticsearch": {"nodes": [node.url], "index": index}}
    elif way.key == "file":
        sinks = FILE_SINK
    with shop.sluice(listener, sinks) as s:
        def settled():
            return int(s.metrics().sum("sluice_sink_records_total"))
        promise = f"nothing, but it is {SYNCED}" if way.key == "mqtt0" else SYNCED
        yield Running(s.pid, shop.url(s, listener), arrived or settled, promise)


def _rsyslog_action(shop, way, directory):
    queue = ('queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="2048" queue.workerThreads="1" '
             'action.resumeRetryCount="-1"')
    if way.key == "file":
        path = directory / "out"
        return "", f'action(type="omfile" file="{path}" template="line" ioBufferSize="256k" flushOnTXEnd="on")', \
            lines_of(path)
    server, target, arrived = _end(shop, way, "rsyslog")
    if way.key == "kafka":
        return 'module(load="omkafka")', (
            f'action(type="omkafka" broker=["{server.bootstrap}"] topic="{target}" template="raw" {queue} '
            'partitions.auto="on" confParam=["compression.codec=lz4", "queue.buffering.max.ms=5", "acks=all", '
            '"queue.buffering.max.messages=1000000"])'), arrived
    return 'module(load="omelasticsearch")', (
        f'action(type="omelasticsearch" server="127.0.0.1" serverport="{server.port}" template="raw" '
        f'searchIndex="{target}" searchType="" bulkmode="on" maxbytes="8m" {queue})'), arrived


@contextlib.contextmanager
def rsyslog(shop, way):
    """imptcp; lines are copied as they came, without any parsing."""
    program = _find("rsyslogd")
    directory, port = shop.directory("rsyslog"), shop.free_port()
    module, action, arrived = _rsyslog_action(shop, way, directory)
    config = directory / "rsyslog.conf"
    config.write_text(f"""global(workDirectory="{directory}" maxMessageSize="64k")
main_queue(queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="2048")
module(load="imptcp" threads="1")
{module}
template(name="raw" type="string" string="%rawmsg%")
template(name="line" type="string" string="%rawmsg%\\n")
ruleset(name="bench" queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="2048") {{
	{action}
}}
input(type="imptcp" address="127.0.0.1" port="{port}" ruleset="bench")
""")
    with open(directory / "log", "wb") as log, \
            shop.server(program, "-n", "-f", config, "-i", directory / "pid", port=port, stdout=log, stderr=log) as pid:
        yield Running(pid, f"tcp://127.0.0.1:{port}", arrived, NOTHING, ("--no-reply",))


def _telegraf_output(shop, way, directory):
    if way.key in ("null", "http"):
        return "[[outputs.discard]]\n", None
    if way.key == "file":
        path = directory / "out"
        return f'[[outputs.file]]\nfiles = ["{path}"]\ndata_format = "json"\n', lines_of(path)
    server, target, arrived = _end(shop, way, "Telegraf")
    if way.key == "kafka":
        return (f'[[outputs.kafka]]\nbrokers = ["{server.bootstrap}"]\ntopic = "{target}"\nrequired_acks = -1\n'
                'compression_codec = 3\ndata_format = "json"\n'), arrived
    return (f'[[outputs.elasticsearch]]\nurls = ["{server.url}"]\nindex_name = "{target}"\nenable_sniffer = false\n'
            'manage_template = false\nhealth_check_interval = "10s"\n'), arrived


@contextlib.contextmanager
def telegraf(shop, way):
    program = _find("telegraf", shop.programs / "peers" / "telegraf")
    directory, port = shop.directory("telegraf"), shop.free_port()
    output, arrived = _telegraf_output(shop, way, directory)
    source = f'[[inputs.socket_listener]]\nservice_address = "tcp://127.0.0.1:{port}"\n'
    if way.key == "http":
        source = (f'[[inputs.http_listener_v2]]\nservice_address = "tcp://127.0.0.1:{port}"\n'
                  'paths = ["/v1/telemetry"]\n')
    config = directory / "telegraf.conf"
    config.write_text('[agent]\ninterval = "10s"\nflush_interval = "200ms"\nmetric_batch_size = 5000\n'
                      f'metric_buffer_limit = 1000000\nomit_hostname = true\n{output}{source}data_format = "json"\n'
                      'tag_keys = ["device"]\njson_string_fields = ["time", "status"]\n')
    with open(directory / "log", "wb") as log, \
            shop.server(program, "--config", config, port=port, stdout=log, stderr=log) as pid:
        url = f"http://127.0.0.1:{port}/v1/telemetry" if way.key == "http" else f"tcp://127.0.0.1:{port}"
        yield Running(pid, url, arrived, MEMORY if way.key == "http" else NOTHING,
                      () if way.key == "http" else ("--no-reply",))


@contextlib.contextmanager
def mosquitto(shop, way):
    """A broker hands on rather than keeps: a subscriber takes everything, or nothing would have been done with it."""
    _find("mosquitto")
    qos = way.key[-1]

    class Broker(Mosquitto):
        env = {"MOSQUITTO_EXTRA": "max_queued_messages 0\nmax_inflight_messages 1000\nset_tcp_nodelay true"}
    directory = shop.directory("mosquitto")
    broker = Broker(directory)
    try:
        out = directory / "out"
        with open(out, "wb") as file:
            subscriber = subprocess.Popen([_find("mosquitto_sub"), "-h", "127.0.0.1", "-p", str(broker.port), "-t", "#",
                                           "-q", qos, "-F", "."], stdin=subprocess.DEVNULL, stdout=file)
        try:
            time.sleep(0.5)  # its SUBSCRIBE is there when messages arrive; the first run, which warms, would tell
            promise = NOTHING if qos == "0" else f"{MEMORY}, to disk every 30 minutes"
            yield Running(broker.pid, f"mqtt://127.0.0.1:{broker.port}", lines_of(out), promise)
        finally:
            subscriber.kill()
            subscriber.wait()
    finally:
        broker.stop()


def _find(name, *more):
    """Path of a program: one of more, or from the PATH and where Debian keeps daemons."""
    for place in [*map(str, more), shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")]:
        if place and os.access(place, os.X_OK):
            return place
    raise Missing("not installed")


PEERS = {
    "Sluice": (sluice, {way.key for way in WAYS}),
    "rsyslog": (rsyslog, {"file", "kafka", "elasticsearch"}),
    "Telegraf": (telegraf, {"null", "file", "kafka", "elasticsearch", "http"}),
    "Mosquitto": (mosquitto, {"mqtt0", "mqtt1"}),
}


def versions(shop):
    out = []
    for name, more, arguments in (("rsyslogd", [], ["-v"]), ("telegraf", [shop.programs / "peers" / "telegraf"],
                                                              ["version"]), ("mosquitto", [], ["-h"])):
        try:
            done = subprocess.run([_find(name, *more), *arguments], capture_output=True, text=True, timeout=20)
            out.append(done.stdout.splitlines()[0].split("(aka")[0].split(" (git")[0].strip())
        except (Missing, IndexError):
            out.append(f"{name}: not installed")
    return out


# -- measuring ---------------------------------------------------------------------------------------------------------


def at_rest(pid):
    """Waits until the program used less than 3 % of a core for half a second."""
    def quiet():
        before = cpu_seconds(pid)
        time.sleep(0.5)
        return cpu_seconds(pid) - before < 0.015
    wait_until(quiet, 60, "the program is at rest", every=0)


def measure(shop, way, name, running):
    """One run: us per message, messages per second to the end, the share that arrived."""
    wanted = way.messages.get(name, way.messages[""])
    before, begun, cpu = running.arrived and running.arrived(), time.monotonic(), cpu_seconds(running.pid)
    load = shop.load(running.url, *way.options, *running.options, "-d", DEVICES, "-n", wanted)
    last = {"count": -1, "at": time.monotonic()}

    def arrived():
        """All, or no more for five seconds."""
        count = running.arrived() - before
        if count != last["count"]:
            last.update(count=count, at=time.monotonic())
        return count >= wanted or time.monotonic() - last["at"] > 5
    if running.arrived:
        wait_until(arrived, 120, f"{name} passes everything on", every=0.05)
        count, seconds = last["count"], last["at"] - begun
    else:
        at_rest(running.pid)
        count, seconds = load.confirmed, load.seconds
    used = cpu_seconds(running.pid) - cpu
    if count <= 0:
        raise Failed("nothing arrived")
    return {"us": used / wanted * 1e6, "rate": count / seconds, "arrived": count / wanted,
            "counted": running.arrived is not None}


def row_of(way, name, running, runs):
    us = [run["us"] for run in runs]
    share = min(run["arrived"] for run in runs)
    told = "all" if share >= 1 else f"{share:.1%}, the least of the runs"
    return {"way": way.text, "peer": name, "us": statistics.median(us), "spread": f"{min(us):.2f} - {max(us):.2f}",
            "rate": statistics.median(run["rate"] for run in runs), "rss_mb": peak_bytes(running.pid) / 1e6,
            "promise": running.promise, "arrived": told if runs[0]["counted"] else "nobody counts", "runs": len(us)}


def compare(shop, way):
    """Rows of the programs that go this way; they take turns."""
    rows, there, runs = [], {}, {}
    with contextlib.ExitStack() as stack:
        for name, (start, ways) in PEERS.items():
            if way.key not in ways:
                continue
            try:
                there[name] = stack.enter_context(start(shop, way))
                runs[name] = []
            except (Missing, Failed, AssertionError) as error:
                rows.append({"way": way.text, "peer": name, "promise": "-", "missing": str(error)[:100]})
                shop.say(f"{way.key}, {name}", None, str(error))
        for run in range(-1, shop.runs):
            for name in list(there):
                try:
                    found = measure(shop, way, name, there[name])
                except (Failed, AssertionError) as error:
                    rows.append({"way": way.text, "peer": name, "promise": there.pop(name).promise,
                                 "missing": str(error)[:100]})
                    shop.say(f"{way.key}, {name}", run, str(error))
                    continue
                shop.say(f"{way.key}, {name}", run if run >= 0 else None, f"{found['us']:.2f} us, "
                         f"{found['rate']:,.0f}/s, {found['arrived']:.1%} arrived")
                if run >= 0:
                    runs[name].append(found)
        rows = [row_of(way, name, there[name], runs[name]) for name in there] + rows
    return rows


def show(rows):
    heads = ["way", "program", "us/message", "messages/s", "MB", "an answer promises", "arrived"]
    cells = [[r["way"], r["peer"], *([f"{r['us']:.2f}", f"{r['rate']:,.0f}", f"{r['rss_mb']:.0f}"] if "us" in r
                                     else ["-"] * 3), r["promise"], r.get("arrived", r.get("missing", ""))] for r in rows]
    widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(len(heads))]
    for row in [heads, *cells]:
        print("  ".join(text.rjust(w) if 2 <= i <= 4 else text.ljust(w)
                        for i, (text, w) in enumerate(zip(row, widths))).rstrip())


def main():
    wanted = [name for name in os.environ.get("PEERS", "").split(",") if name]
    names = [way.key for way in WAYS]
    if wanted == ["help"]:
        print(f"{__doc__}\n\nNames: {', '.join(names)}")
        return 0
    if unknown := [name for name in wanted if name not in names]:
        print(f"peers: PEERS={','.join(unknown)}: there are {', '.join(names)}", file=sys.stderr)
        return 2
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    shop = Workshop(int(os.environ.get("BENCH_RUNS") or 5))
    try:
        facts, rows = machine.facts(shop.dir, shop.sluice_program), []
        for way in WAYS:
            if not wanted or way.key in wanted:
                rows += compare(shop, way)
        programs = versions(shop)
    finally:
        shop.close()
    show(rows)
    words = [f"{key}={shlex.quote(os.environ[key])}" for key in ("PEERS", "BENCH_RUNS") if os.environ.get(key)]
    found = {"command": " ".join(["make bench-peers", *words]), "machine": facts, "rows": rows, "versions": programs}
    (shop.programs / "peers.json").write_text(json.dumps(found, indent=1) + "\n")
    if not wanted:
        written = report.write_docs(shop.programs, machine.ROOT / "docs")
        print("\nwritten: docs/benchmarks.md" if written else
              "\ndocs/benchmarks.md is not written: there is no full run of make bench in build/")
    return 1 if any("missing" in row and row["missing"] != "not installed" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
