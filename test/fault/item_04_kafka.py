"""Item 4: the Kafka broker is away for a while: stopped in order, killed, or frozen."""

import time

from harness import wait_until

NUMBER, TITLE = 4, "Kafka stopped, killed, frozen"
FULL, BOUNDED, SECONDS = 6, 0, 20
NEEDS = ("kafka",)
AWAY_S = 60


def strike(world):
    kafka = world.places.get("kafka")
    how = world.chance.choice(["stopped", "killed", "frozen"])
    away = {"stopped": kafka.down, "killed": lambda: kafka.down(crash=True), "frozen": kafka.paused}[how]
    with away():
        time.sleep(world.chance.uniform(1, AWAY_S))
    with world.struck(f"Kafka {how}"):  # from its return until it has everything again
        wait_until(lambda: world.gateway.metrics().sum("sluice_sink_lag_records", type="kafka") < 1000, 120, "Kafka catches up")
