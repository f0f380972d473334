"""Item 4: Kafka is away for a while (stopped in order, killed, frozen), or there and not of use: its topic is deleted, records are
too large for it, the login is withdrawn, the way to it misbehaves, one of three brokers is killed. A round plays one of these,
in this order, in turn with replay_order oldest_first and live_first."""

import time

from backends import SASL, Cluster, begun, still
from scenarios import absences, in_turn, outlast, play_of, way
from proxy import Proxy

NUMBER, TITLE = 4, "Kafka away, refusing, odd"
BOUNDED, SECONDS = 0, 20
NEEDS = ("kafka",)


def topic_deleted(world):
    """Who deletes a topic throws away what is in it. So writing is forbidden first, all is copied, and then the topic goes, while
    records for it keep coming; the operator makes it again some time later."""
    broker, copy = world.places.get("kafka"), world.dir / "topic.ndjson"
    with broker.forbidden(world.name):
        world.told(f"topic {world.name} is forbidden")
        still(lambda: broker.ends(world.name), 1, 60, "nothing is written any more")
        broker.copy(world.name, copy)
        broker.delete_topic(world.name)
    world.told(f"topic {world.name} does not exist")
    time.sleep(world.chance.uniform(0, 5))
    with world.struck("writing forbidden, topic deleted"):
        broker.create_topic(world.name)
        world.caught_up("kafka")
    world.collect("kafka", lambda: broker.copy(world.name, copy), copy)


def too_large(world):
    """The broker takes less than before: the larger records become dead letters, the smaller ones are delivered."""
    broker = world.places.get("kafka")
    broker.alter_topic(world.name, max_message_bytes=2500)
    world.dead["kafka"] = "MSG_SIZE_TOO_LARGE"
    time.sleep(world.chance.uniform(2, 6))
    with world.struck("records too large for the broker"):
        broker.alter_topic(world.name, max_message_bytes=None)
        world.caught_up("kafka")


def login_withdrawn(world):
    with world.places.get("kafka").other_password():
        world.told("the brokers refuse the login")
        time.sleep(world.chance.uniform(0, 5))
    with world.struck("login withdrawn"):
        world.caught_up("kafka")


def one_of_three_killed(world):
    node = world.chance.randrange(1, 4)
    with world.cluster.one_killed(node):
        with world.struck(f"broker {node} of 3 killed"):
            world.caught_up("kafka")  # by the two that are left
        time.sleep(world.chance.uniform(1, 5))


AWAY = absences("kafka")
WAYS = [way("kafka", 5, 15, mode) for mode in ("slow", "cut", "garbage")]
PLAYS = [*AWAY, topic_deleted, too_large, login_withdrawn, *WAYS, one_of_three_killed]
FULL = len(PLAYS)


def prepare(world):
    broker, play = world.places.get("kafka"), play_of(PLAYS, world)
    in_turn(world, len(PLAYS), "kafka")
    if play is AWAY[0]:
        outlast(world)
    elif play is too_large:
        world.change_sink("kafka", compression="none")
        world.options += ["--size", "200,200,200,3000"]
    elif play is login_withdrawn:
        world.change_sink("kafka", brokers=f"127.0.0.1:{broker.port + SASL}", security="sasl_plaintext", username="sluice",
                          password="sluice-secret")
    elif play in WAYS:
        world.proxy = Proxy("127.0.0.1", broker.way_end, broker.way)
        world.change_sink("kafka", brokers=f"127.0.0.1:{broker.way}")
    elif play is one_of_three_killed:
        world.cluster = begun(Cluster, world.dir / "cluster")
        world.ending.callback(world.cluster.stop)
        world.cluster.create_topic(world.name, replicas=3)
        world.change_sink("kafka", brokers=world.cluster.bootstrap.split(","))
        world.sources["kafka"] = f"kafka://127.0.0.1:{world.cluster.port}/{world.name}"


def strike(world):
    play_of(PLAYS, world)(world)
