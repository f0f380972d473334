"""Item 13: an operator's mistakes. A gateway with two sinks, one that works and one that is unavailable until the end, so that the
journal alone has its records. Under load on all four protocols some mistakes of docs/guarantees.md ("Operator's mistakes") are made,
drawn at random, with kill -9 between and within them. At the end both sinks have all that was acknowledged, except what deleted
segments alone had: that is in the log as ranges, and no more than these may be missing.

The gateway runs without the right to read and write everything, which root has, so that permissions count."""

import os
import resource
import shutil
import signal
import time
from pathlib import Path

from campaign import RoundFailed
from harness import Sluice, free_ports, merge, wait_until
from sending import Sending, target, verify_sources

NUMBER, TITLE = 13, "operator's mistakes"
NEEDS = ()
FULL, BOUNDED = 50, 2
LISTENERS = ("mqtt", "coap", "tcp", "http")
AWAY = {"type": "elasticsearch", "nodes": "http://127.0.0.1:9", "backoff_max": "1s"}
RIGHTS = "-dac_override,-dac_read_search"
DELETED = "its files were deleted while it ran"
LOST = ("segments were deleted; records that only they had are lost", "begins behind what a sink has", "a damaged range was passed over")


class Site:
    """The gateway, what an operator can reach of it, and what was saved before a mistake."""

    def __init__(self, round_):
        self.round, self.rng, self.dir = round_, round_.rng, round_.dir
        self.saved, self.runs, self.mark, self.stranger = [], [], 0, None
        self.settings = {"segment": "1MiB", "block": "256KiB", "tail_memory": self.rng.choice(["0", "256KiB", "8MiB"])}
        (self.dir / "out").mkdir()
        files = {name: {"type": "file", "path": str(self.dir / "out" / f"{name}.ndjson"), "sync_interval": "50ms"} for name in ("file", "away")}
        self.away_works = files["away"]
        self.gateway = round_.start({"journal": self.settings, "stop": {"drain": "1s"}, "sinks": {"file": files["file"], "away": AWAY}},
                                    program=limited(self.dir, round_))
        self.journal, self.out = self.gateway.data / "journal", Path(files["file"]["path"])

    # -- the log

    def logged(self, text):
        """Whether it was logged since the mistake began."""
        return text in self.gateway.log()[self.mark:]

    def wait_logged(self, text, timeout=30):
        wait_until(lambda: self.logged(text), timeout, f"the log says {text!r}")

    def lost(self):
        """How many records the log names as lost. A range may be named again at each start."""
        named = set()
        for event in self.gateway.log_events():
            if any(text in event["message"] for text in LOST):
                first, count = event["sluice.journal.first_lost"], event["sluice.journal.records_lost"]
                self.round.check(event.get("sluice.journal.last_lost", first + count - 1) == first + count - 1, f"range and count differ: {event}")
                named.update(range(first, first + count))
        return len(named)

    # -- the program

    def kill(self):
        if self.gateway.running():
            self.gateway.kill()

    def start(self):
        began = time.monotonic()
        self.gateway.start()
        self.round.recovered(time.monotonic() - began)

    def perhaps_kill(self, share=0.4):
        if self.rng.random() < share:
            self.kill()
            self.start()
            self.round.note("kill -9")

    def refused(self, gateway, text):
        """A start that must fail with this text."""
        done = gateway.command("--config", gateway.config_path, timeout=30)
        said = done.stderr + done.stdout
        self.round.check(done.returncode and text in said, f"a start that should be refused with {text!r}: exit code {done.returncode}, {said}")

    def frozen(self):
        """Stops the process, so that nothing is written meanwhile."""
        self.gateway.signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.gateway.pid}/task")
        wait_until(lambda: all((task / "stat").read_text().rpartition(")")[2].split()[0] == "T" for task in tasks.iterdir()), 10, "it is stopped")

    # -- load and files

    def send(self, *options, listeners=LISTENERS, **more):
        run = Sending(self.dir, f"run{len(self.runs)}", [target(self.gateway, name, connections=2, **more) for name in listeners], *options)
        self.runs.append(run)
        return run

    def send_some(self):
        """So that the journal and the sinks have something to do, whether or not the load still runs."""
        self.send("-n", "20", listeners=("tcp",)).finish()

    def segments(self):
        """Those in use, the open one last; without spares."""
        headers = {}
        for path in self.journal.glob("*.segment"):
            with open(path, "rb") as file:
                headers[path] = file.read(24)
        used = [path for path, header in headers.items() if header[:8] == b"SLUICEJ1"]
        return sorted(used, key=lambda path: int.from_bytes(headers[path][16:24], "little"))

    def save(self, path, how):
        self.saved.append(self.dir / "out" / f"saved-{len(self.saved)}")
        how(path, self.saved[-1])


def limited(directory, round_):
    """The program as a user that has to keep to permissions."""
    if os.geteuid() != 0:
        return round_.program
    wrapper = directory / "without-rights"
    wrapper.write_text(f'#!/bin/sh\nexec setpriv --bounding-set={RIGHTS} --inh-caps={RIGHTS} "{round_.program}" "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


# -- mistakes while it runs


def journal_deleted(site):
    shutil.rmtree(site.journal, ignore_errors=True)  # files that are made again meanwhile stay
    after_deleting(site)


def segments_deleted(site):
    """The open one and some older ones."""
    site.frozen()
    *older, newest = site.segments()
    for path in (newest, *site.rng.sample(older, site.rng.randint(0, len(older)))):
        path.unlink()
    site.gateway.signal(signal.SIGCONT)
    after_deleting(site)


def after_deleting(site):
    """It is killed as soon as what it had is safe again, and its cursors are: from them the next start knows which records are gone without having
    been noticed. (With the cursors gone, too, nothing tells.)"""
    site.wait_logged(DELETED)
    cursors = [site.journal / "cursors" / f"{name}.cursor" for name in ("file", "away")]
    wait_until(lambda: all(path.exists() for path in cursors), 20, "the cursors are made again")
    site.kill()
    site.start()


def directory_moved(site):
    directory = site.rng.choice([site.journal, site.gateway.data])
    elsewhere = site.dir / "elsewhere"
    directory.rename(elsewhere)
    if site.rng.random() < 0.7:
        site.wait_logged("was moved, it is")
        site.round.check(site.gateway.status("/readyz") == 503, "/readyz is not 503 while the directory is elsewhere")
        time.sleep(site.rng.uniform(0, 0.5))
    killed = site.rng.random() < 0.3
    if killed:
        site.kill()
    elsewhere.rename(directory)
    if killed:
        site.start()
    wait_until(lambda: site.gateway.status("/readyz") == 200, 30, "it goes on when the directory is back")


def lock_deleted(site):
    (site.dir / "second").mkdir()
    second = Sluice(site.dir / "second", merge(site.gateway.config, {
        "listeners": {name: {"listen": f"127.0.0.1:{free_ports()}"} for name in LISTENERS},
        "admin": {"listen": f"127.0.0.1:{free_ports()}"}}), site.gateway.program)
    (site.journal / "lock").unlink()
    site.refused(second, "in use by another process")
    site.wait_logged("its lock file was deleted")


def lock_taken(site):
    """As by a second gateway from where locks do not reach."""
    (site.journal / "lock").write_text("0123456789abcdef" * 2 + "\n")
    site.wait_logged("another process has taken")
    site.round.check(site.gateway.status("/readyz") == 503, "/readyz is not 503 while another process has the journal")
    site.kill()
    site.start()


def cursor_deleted(site):
    (site.journal / "cursors" / f"{site.rng.choice(['file', 'away'])}.cursor").unlink(missing_ok=True)
    site.wait_logged("the file of a cursor was deleted or moved")


def no_segment(site, begin, end):
    """While there cannot be a further segment, much is sent; afterwards all of it is taken."""
    load = site.send("-r", "500", "-n", "700", listeners=("tcp",), size=9000)
    site.gateway.wait_metric("sluice_connections", 4, 20, listener="tcp")  # those of the two loads: a first connection is not tried twice
    records = site.gateway.metrics().sum("sluice_journal_records_total")
    site.gateway.wait_metric("sluice_journal_records_total", records + 20, 20)
    begin()
    try:
        site.wait_logged("no further segment can be made")
        if site.rng.random() < 0.3:
            site.kill()
    finally:
        end()
    if not site.gateway.running():
        site.start()
    load.finish()


def no_descriptors(site):
    soft, hard = resource.prlimit(site.gateway.pid, resource.RLIMIT_NOFILE)

    def end():
        if site.gateway.running():
            resource.prlimit(site.gateway.pid, resource.RLIMIT_NOFILE, (soft, hard))
    no_segment(site, lambda: resource.prlimit(site.gateway.pid, resource.RLIMIT_NOFILE, (1, hard)), end)


def directory_permission(site):
    mode = site.journal.stat().st_mode
    no_segment(site, lambda: site.journal.chmod(site.rng.choice([0, 0o500])), lambda: site.journal.chmod(mode))


def sink_file_truncated(site):
    lose_output(site, shutil.copy, lambda: os.truncate(site.out, 0), "its file was truncated")


def sink_file_deleted(site):
    lose_output(site, shutil.copy, site.out.unlink, "its file was deleted")


def lose_output(site, how, mistake, text):
    """What is in the file when it is lost counts as delivered. Sometimes the gateway is killed before it can notice."""
    wait_until(lambda: site.out.exists() and site.out.stat().st_size > 0, 20, "the file sink has records")
    site.frozen()
    site.save(site.out, how)
    mistake()
    if site.rng.random() < 0.3:
        site.kill()
        site.start()
        return
    site.gateway.signal(signal.SIGCONT)
    site.send_some()
    site.wait_logged(text)


def sink_file_moved(site):
    wait_until(site.out.exists, 20, "the file sink has a file")
    site.save(site.out, lambda path, to: path.rename(to))
    if site.rng.random() < 0.7:
        site.send_some()
        site.wait_logged("its file was moved")


# -- mistakes between two runs


def cursor_emptied(site):
    site.kill()
    cursor = site.journal / "cursors" / f"{site.rng.choice(['file', 'away'])}.cursor"
    if site.rng.random() < 0.5:
        os.truncate(cursor, 0)
        text = "a cursor holds nothing; its sink starts with the oldest record"
    else:
        cursor.unlink()
        text = "the cursor of a sink is missing"
    site.start()
    site.wait_logged(text)


def segment_permission(site):
    site.kill()
    path = site.rng.choice(site.segments())
    mode = path.stat().st_mode
    path.chmod(0)
    site.refused(site.gateway, "Permission denied")
    path.chmod(mode)
    site.start()


def copy_from_stranger(site):
    """Segments of another gateway, whose messages must not come into the sinks."""
    if not site.stranger:
        config = merge(site.gateway.config, {"data": str(site.dir / "stranger" / "data"), "sinks": {"file": None}, "listeners": {
            name: {"listen": f"127.0.0.1:{free_ports()}"} for name in LISTENERS}, "admin": {"listen": f"127.0.0.1:{free_ports()}"}})
        (site.dir / "stranger").mkdir()
        site.stranger = Sluice(site.dir / "stranger", config, site.gateway.program).start()
        try:
            Sending(site.dir / "stranger", "stranger", [target(site.stranger, "tcp")], "-n", "200", "--name", "stranger-{n}").finish()
        finally:
            site.stranger.kill()
    numbers = [int(path.stem) for path in site.journal.glob("*.segment")]
    for i, path in enumerate(sorted((site.stranger.data / "journal").glob("*.segment")), max(numbers) + 10):
        shutil.copy(path, site.journal / f"{i:08}.segment")


def foreign_files(site):
    site.kill()
    copy_from_stranger(site)
    cursor = site.rng.random() < 0.5
    if cursor:
        shutil.copy(site.stranger.data / "journal" / "cursors" / "away.cursor", site.journal / "cursors" / "away.cursor")
    site.start()
    site.wait_logged("a segment belongs to another journal")
    if cursor:
        site.wait_logged("a cursor belongs to another journal")


def identity_deleted(site):
    site.kill()
    copy_from_stranger(site)
    identity = (site.journal / "identity").read_text()
    (site.journal / "identity").unlink()
    site.refused(site.gateway, "has segments of two journals")
    (site.journal / "identity").write_text(identity)
    site.start()
    site.wait_logged("a segment belongs to another journal")


def memory_journal(site):
    """The records on disk stay, and are reported. No sender reaches this gateway: it promises nothing."""
    site.kill()
    right = site.gateway.config
    site.gateway.configure(merge(right, {"journal": {name: None for name in site.settings} | {"type": "memory"}, "listeners": {
        **{name: None for name in LISTENERS}, "other": {"protocol": "tcp", "device": ["/device"], "ack": "accepted"}}}))
    try:
        site.start()
        site.wait_logged("records of an earlier run wait on disk")
        site.kill()
    finally:
        site.gateway.configure(right)
    site.start()


MISTAKES = [journal_deleted, segments_deleted, directory_moved, lock_deleted, lock_taken, cursor_deleted, no_descriptors, directory_permission,
            sink_file_truncated, sink_file_deleted, sink_file_moved, cursor_emptied, segment_permission, foreign_files, identity_deleted,
            memory_journal]


# -- the round


def mistakes(round_):
    site = Site(round_)
    try:
        load = site.send("-r", str(round_.rng.choice([200, 500, 1000])), "-t", "300s", size=round_.rng.choice(["190", "100-2000", "4000"]))
        site.gateway.wait_metric("sluice_journal_records_total", 100, 20)
        for mistake in round_.rng.sample(MISTAKES, 3):
            time.sleep(round_.rng.uniform(0, 0.4))
            site.mark = len(site.gateway.log())
            round_.note(mistake.__name__)
            mistake(site)
            site.perhaps_kill()
        load.end()
        for run in site.runs:
            run.finish()
        verdict(site)
    except (AssertionError, RuntimeError, OSError) as error:
        raise RoundFailed(f"{', '.join(round_.notes)}: {error}") from error
    finally:
        for run in site.runs:
            run.close()
    return []


def verdict(site):
    """The other sink becomes one that works, and both have everything but what the log names."""
    site.kill() if site.rng.random() < 0.5 else site.gateway.stop()
    site.gateway.configure(merge(site.gateway.config, {"sinks": {"away": None}}) | {"sinks": {
        "file": site.gateway.config["sinks"]["file"], "away": site.away_works}})
    site.start()
    wait_until(lambda: site.gateway.metrics().sum("sluice_sink_lag_records") == 0, 120, "the sinks have everything")
    site.round.check(site.gateway.stop() == 0, "it did not stop in order")
    everything = site.dir / "delivered.ndjson"
    with open(everything, "wb") as whole:
        for path in (*site.saved, site.out):
            if path.exists():
                whole.writelines(line for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n"))
    sources = (everything, Path(site.away_works["path"]))
    for path in sources:
        site.round.check(b"stranger-" not in path.read_bytes(), f"messages of the other gateway are in {path.name}")
    missing = [0, 0]
    for run in site.runs:
        found, _ = verify_sources(run.ledger, *sources)
        totals = [f["total"] for f in found]
        missing = [m + t["missing"] for m, t in zip(missing, totals, strict=True)]
        site.round.check(not any(t["unknown"] for t in totals), f"messages that were never sent: {totals}")
        site.round.sent += totals[0]["sent"]
        site.round.acknowledged += totals[0]["acknowledged"]
        site.round.duplicates += totals[0]["twice"]
    account(site, missing)


def account(site, missing):
    """What is missing beyond the ranges in the log counts as missing."""
    named = site.lost()
    if named or any(missing):
        site.round.note(f"the log names {named} records as lost with their segments; missing: file {missing[0]}, away {missing[1]}")
    unexplained = max(0, max(missing) - named)
    site.round.missing += unexplained
    site.round.check(not unexplained, f"{unexplained} acknowledged messages are missing that the log does not name")


def run(round_):
    round_.run_part(mistakes)
