"""Item 1: kill -9 at any moment, also during the recovery from one; stopped and continued for a while. In every second round the
file sink has replay_order live_first, so that it is killed with stretches ahead of its cursor."""

import signal
import time

from scenarios import alternate_replay_order

NUMBER, TITLE = 1, "kill -9, kill in recovery, SIGSTOP"
FULL, BOUNDED, SECONDS = 200, 20, 3
NEEDS = ()


def kill(round_):
    with round_.outage("kill -9"):
        round_.gateway.kill()
        round_.gateway.start()


def kill_in_recovery(round_):
    with round_.outage("kill -9, again in recovery"):
        round_.gateway.kill()
        for _ in range(round_.rng.randrange(1, 4)):
            round_.gateway.start(wait=None)
            time.sleep(round_.rng.choice([round_.rng.uniform(0, 0.03), round_.rng.uniform(0, 0.3)]))
            round_.gateway.kill()
        round_.gateway.start()


def kill_in_replay(round_):
    with round_.outage("kill -9, again in replay"):
        round_.gateway.kill()
        round_.gateway.start()
        time.sleep(round_.rng.uniform(0.3, 1))  # until the stretches ahead are stored with the cursor
        round_.gateway.kill()
        round_.gateway.start()


def stop_and_continue(round_):
    with round_.outage("SIGSTOP"):
        round_.gateway.signal(signal.SIGSTOP)
        time.sleep(round_.rng.uniform(0.1, 3))
        if round_.rng.random() < 0.3:
            round_.gateway.kill()
            round_.gateway.start()
            return
        round_.gateway.signal(signal.SIGCONT)
        while round_.gateway.status("/readyz") != 200:
            time.sleep(0.01)


def prepare(round_):
    # Records that are not synced yet are a backlog of some batches, replayed for a second or more.
    alternate_replay_order(round_, FULL, "file", batch_records=20, sync_interval="200ms", replay_rate=400)


def inject(round_):
    usual = kill_in_replay if round_.live_first else kill
    for _ in range(round_.rng.choice([1, 1, 2])):
        round_.rng.choice([usual, usual, kill_in_recovery, stop_and_continue])(round_)
        time.sleep(round_.rng.uniform(0, 0.5))
