"""Item 4: the Kafka broker is away for a while: stopped in order, killed, or frozen."""

NUMBER, TITLE = 4, "Kafka stopped, killed, frozen"
FULL, BOUNDED, SECONDS = 6, 0, 20
NEEDS = ("kafka",)


def strike(world):
    world.away("kafka", "Kafka")
