"""Item 1: kill -9 at any moment, also during the recovery from one; stopped and continued for a while. In every second round the
file brings what is new first (replay_order live_first), so that it is killed with stretches ahead of its cursor."""

import signal
import time

from scenarios import in_turn

NUMBER, TITLE = 1, "kill -9, kill in recovery, SIGSTOP"
FULL, BOUNDED, SECONDS = 200, 20, 3
NEEDS = ()


def kill(world):
    with world.struck("kill -9"):
        world.gateway.kill()
        world.gateway.start()


def kill_in_recovery(world):
    with world.struck("kill -9, again in recovery"):
        world.gateway.kill()
        for _ in range(world.chance.randrange(1, 4)):
            world.gateway.start(wait=None)
            time.sleep(world.chance.choice([world.chance.uniform(0, 0.03), world.chance.uniform(0, 0.3)]))
            world.gateway.kill()
        world.gateway.start()


def kill_in_replay(world):
    with world.struck("kill -9, again in replay"):
        world.gateway.kill()
        world.gateway.start()
        time.sleep(world.chance.uniform(0.3, 1))  # until what went ahead is stored with the cursor
        world.gateway.kill()
        world.gateway.start()


def stop_and_continue(world):
    with world.struck("SIGSTOP"):
        world.gateway.signal(signal.SIGSTOP)
        time.sleep(world.chance.uniform(0.1, 3))
        if world.chance.random() < 0.3:
            world.gateway.kill()
            world.gateway.start()
            return
        world.gateway.signal(signal.SIGCONT)
        while world.gateway.status("/readyz") != 200:
            time.sleep(0.01)


def prepare(world):
    # What was not synced for a moment is a backlog of some batches, and is replayed for a second or more.
    in_turn(world, FULL, "file", batch_records=20, sync_interval="200ms", replay_rate=400)


def strike(world):
    often = kill_in_replay if world.live_first else kill
    for _ in range(world.chance.choice([1, 1, 2])):
        world.chance.choice([often, often, kill_in_recovery, stop_and_continue])(world)
        time.sleep(world.chance.uniform(0, 0.5))
