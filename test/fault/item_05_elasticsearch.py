"""Item 5: the search server is away for a while (stopped in order, killed, or frozen), its index takes no writes (as at the flood
stage of a full disk), or the way to it misbehaves (proxy.py): half-open connections, answers that are cut by a reset, slow,
no HTTP, something else, a redirect. Each for some seconds under load; afterwards everything is there, and once."""

import time

from harness import wait_until
from proxy import MODES

NUMBER, TITLE = 5, "Elasticsearch away, full, odd"
FULL, BOUNDED, SECONDS = 12, 0, 20
NEEDS = ("elasticsearch",)
PROXIED = True


def caught_up(world):
    wait_until(lambda: world.gateway.metrics().sum("sluice_sink_lag_records", type="elasticsearch") < 1000, 120,
               "Elasticsearch catches up")


def away(world):
    world.away("elasticsearch", "Elasticsearch", most_s=20)


def full(world):
    def block(on):
        world.places.get("elasticsearch").request(
            "PUT", f"/{world.name}/_settings", json={"index.blocks.read_only_allow_delete": on}).raise_for_status()

    wait_until(lambda: world.gateway.metrics().sum("sluice_sink_records_total", type="elasticsearch") > 0, 30, "there is an index")
    block(True)
    time.sleep(world.chance.uniform(1, 8))
    with world.struck("read-only index"):
        block(None)
        caught_up(world)


def odd(world):
    mode = world.chance.choice(MODES)
    world.proxy.mode = mode
    time.sleep(world.chance.uniform(1, 8))
    world.proxy.mode = "pass"
    with world.struck(f"{mode} ({world.proxy.struck} times)"):
        caught_up(world)


def strike(world):
    for part in world.chance.sample([away, full, odd, odd], 2):
        part(world)
