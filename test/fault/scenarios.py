"""What items of several plays share: a round plays one of them, by its number; and what can befall any place (campaign.py:
World.places, .proxy)."""

import time

from harness import wait_until  # test/system


def play_of(plays, world):
    return plays[(world.number - 1) % len(plays)]


def in_turn(world, count, name, **more):
    """Every second round the sink brings what is new first and what gathered behind it; with a second turn through the plays,
    those that did not the first time. Batches are small, so that little is enough to be a backlog."""
    if (world.number + (world.number - 1) // count) % 2 == 0:
        world.change_sink(name, **{"replay_order": "live_first", "replay_after": "500ms", "batch_records": 100,
                                   "replay_rate": world.chance.choice([0, 3000]), **more})
        world.live_first = name


def absences(name):
    """It is stopped in order for a minute (the load has to last: outlast), killed, frozen."""
    def stopped(world):
        world.away(name, "stopped", 60)

    def killed(world):
        world.away(name, "killed", world.chance.uniform(1, 20))

    def frozen(world):
        world.away(name, "frozen", world.chance.uniform(1, 20))
    return [stopped, killed, frozen]


def outlast(world):
    world.duration_s = 75


def way(name, least_s, most_s, *modes):
    """The way to it misbehaves (proxy.py), in one mode after the other, each for so long."""
    def odd(world):
        for mode in modes:
            before = world.proxy.struck
            world.proxy.mode = mode
            wait_until(lambda before=before: world.proxy.struck > before, 60, f"the way was met: {mode}")
            time.sleep(world.chance.uniform(least_s, most_s))
            world.proxy.mode = "pass"
            with world.struck(f"the way: {mode} ({world.proxy.struck - before} times)"):
                world.caught_up(name)
    return odd
