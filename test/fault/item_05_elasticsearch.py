"""Item 5: the search server is away for a while: stopped in order, killed, or frozen."""

NUMBER, TITLE = 5, "Elasticsearch stopped, killed, frozen"
FULL, BOUNDED, SECONDS = 6, 0, 20
NEEDS = ("elasticsearch",)


def strike(world):
    world.away("elasticsearch", "Elasticsearch")
