"""Item 1: kill -9 at any moment, also during the recovery from one; stopped and continued for a while."""

import signal
import time

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


def strike(world):
    for _ in range(world.chance.choice([1, 1, 2])):
        world.chance.choice([kill, kill, kill_in_recovery, stop_and_continue])(world)
        time.sleep(world.chance.uniform(0, 0.5))
