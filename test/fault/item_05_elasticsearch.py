"""Item 5: the search server is away for a while: stopped in order, killed, or frozen."""

import time

from harness import wait_until

NUMBER, TITLE = 5, "Elasticsearch stopped, killed, frozen"
FULL, BOUNDED, SECONDS = 6, 0, 20
NEEDS = ("elasticsearch",)
AWAY_S = 60


def strike(world):
    search = world.places.get("elasticsearch")
    how = world.chance.choice(["stopped", "killed", "frozen"])
    away = {"stopped": search.down, "killed": lambda: search.down(crash=True), "frozen": search.paused}[how]
    with away():
        time.sleep(world.chance.uniform(1, AWAY_S))
    with world.struck(f"Elasticsearch {how}"):  # from its return until it has everything again
        wait_until(lambda: world.gateway.metrics().sum("sluice_sink_lag_records", type="elasticsearch") < 1000, 120, "Elasticsearch catches up")
