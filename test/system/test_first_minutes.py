"""What somebody sees who has just cloned the tree: `make run`, the commands that README and the program show, `sluice health`."""

import json
import os
import re
import shutil
import signal
import subprocess

import pytest

from harness import ROOT, SLOWNESS, free_ports, wait_until

README = (ROOT / "README.md").read_text()
SLUICE = os.environ.get("SLUICE_BIN", ROOT / "build" / "sluice")
PORTS = {"PORT_MQTT": 1883, "PORT_COAP": 5683, "PORT_TCP": 5170, "PORT_HTTP": 8080, "PORT_ADMIN": 9480}
CLIENTS = ("mosquitto_pub", "coap-client-notls", "printf", "curl")
NOT_INHERITED = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "GNUMAKEFLAGS")


@pytest.fixture
def ports():
    first = free_ports(len(PORTS))
    return {name: first + i for i, name in enumerate(PORTS)}


@pytest.fixture
def run(tmp_path):
    """Starts a command that is to be ended by SIGINT; all its output goes to a file, which is returned with it."""
    started = []

    def start(*command, **options):
        out = tmp_path / f"out-{len(started)}"
        with open(out, "w") as sink:
            p = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True, **options)
        started.append(p)
        return p, out

    yield start
    for p in started:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()


def readme_commands():
    """The client commands of README's "Try it", as they are there."""
    block = README.split("## Try it")[1].split("\n## ")[0]
    return [line.strip() for line in block.splitlines() if line.strip().startswith(CLIENTS)]


def with_ports(command, ports):
    for name, default in PORTS.items():
        command = re.sub(rf"(?<=[: ]){default}\b", str(ports[name]), command)
    return command


def ready(out):
    return wait_until(lambda: "and see it arrive" in out.read_text(), 60, "the hints are printed")


def stop(p):
    os.killpg(p.pid, signal.SIGINT)
    return p.wait(timeout=30 * SLOWNESS)


def test_the_commands_that_the_program_prints_are_those_of_the_readme_and_work(run, ports, tmp_path):
    env = {**os.environ, **{k: str(v) for k, v in ports.items()}, "DATA": str(tmp_path / "data")}
    p, out = run(str(SLUICE), "--config", "config/run.yaml", "--hints", env=env)
    ready(out)
    commands = [with_ports(c, ports) for c in readme_commands()]
    assert len(commands) == len(CLIENTS)
    for command in commands:
        assert command in out.read_text(), "README and the program show the same"
        subprocess.run(["sh", "-c", command], check=True, timeout=30 * SLOWNESS, stdout=subprocess.DEVNULL)
    records = tmp_path / "data" / "telemetry.ndjson"

    def devices():
        lines = records.read_text().splitlines() if records.exists() else []
        return {json.loads(line)["device"]["id"] for line in lines}

    wait_until(lambda: devices() == {f"sensor-{i}" for i in range(1, 5)}, 20, "a record of each command")
    assert stop(p) == 0


def test_make_run_takes_a_directory_with_a_space_and_says_nothing_of_nothing_to_be_done(run, ports, tmp_path):
    data = tmp_path / "a directory"
    env = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    p, out = run("make", "run", f"DATA={data}", *(f"{k}={v}" for k, v in ports.items()), env=env)
    wait_until(lambda: "and see it arrive" in out.read_text() or p.poll() is not None, 600, "it runs")
    assert p.poll() is None, out.read_text()
    assert (data / "journal").is_dir()
    assert "Nothing to be done" not in out.read_text()
    stop(p)


def test_health_without_a_configuration_asks_the_default_address_and_says_so(tmp_path):
    there = shutil.which("unshare") and os.geteuid() == 0
    command = [str(SLUICE), "health"]
    if there:  # a network of its own: nothing listens on the default port there, whoever else runs on this machine
        command = ["unshare", "-n", *command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30 * SLOWNESS)
    assert "127.0.0.1:9480" in done.stdout + done.stderr
    if there:
        assert done.returncode == 1
        assert "--config FILE" in done.stderr and "/etc/sluice/sluice.yaml" in done.stderr


def fake(directory, name, text):
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("goal", ["run", "unit"])
def test_a_refusing_sudo_is_not_taken_for_a_fault_of_the_package_mirror(tmp_path, goal):
    # Nothing may be installed or asked for here: what the script would ask is answered by stand-ins.
    fake(tmp_path, "id", "echo 1000")
    fake(tmp_path, "dpkg-query", ":")
    fake(tmp_path, "sudo", "echo 'sudo: a password is required' >&2; exit 1")
    fake(tmp_path, "apt-get", f"touch {tmp_path}/asked")
    done = subprocess.run([ROOT / "deploy" / "install-deps.sh", goal], capture_output=True, text=True,
                          env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}, timeout=30)
    assert done.returncode == 1
    assert "sudo refuses" in done.stderr and "mirror" not in done.stderr
    assert " pkg-config " in done.stderr and "|" not in done.stderr, "names that apt knows"
    assert not (tmp_path / "asked").exists()


def test_the_columns_of_make_help_are_straight():
    env = {k: v for k, v in os.environ.items() if k not in NOT_INHERITED}
    lines = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, env=env).stdout.splitlines()
    assert len(lines) > 15
    assert {len(re.match(r"  make \S+ +", line).group()) for line in lines} == {24}


