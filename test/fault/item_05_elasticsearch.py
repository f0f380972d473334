"""Item 5: the search server is away for a while (stopped in order, killed, or frozen), or there and not of use: its index takes no
writes (as at the flood stage of a full disk), the way to it misbehaves (proxy.py: half-open connections, answers that are cut
by a reset, slow, no HTTP, something else, a redirect), its queue is full, a field's mapping refuses records, the node is
replaced. A round plays one of these, in this order, in turn with replay_order oldest_first and live_first; afterwards everything
is there, and once."""

import time

from harness import free_ports, wait_until
from backends import Node, begun
from scenarios import absences, in_turn, outlast, play_of, way

NUMBER, TITLE = 5, "Elasticsearch away, refusing, odd"
BOUNDED, SECONDS = 0, 20
NEEDS = ("elasticsearch",)
PROXIED = True


def full(world):
    def block(on):
        world.places.get("elasticsearch").ask("PUT", f"/{world.name}/_settings", {"index.blocks.read_only_allow_delete": on})

    wait_until(lambda: world.metric("elasticsearch", "records_total") > 0, 30, "there is an index")
    block(True)
    time.sleep(world.chance.uniform(1, 8))
    with world.struck("read-only index"):
        block(None)
        world.caught_up("elasticsearch")


def queue_full(world):
    """One thread writes and one request may wait (prepare): with others at it, what comes on top is answered 429."""
    before = world.metric("elasticsearch", "retried_records_total")
    with world.places.get("elasticsearch").rivals(f"{world.name}-rival", 4, 2000):
        wait_until(lambda: world.metric("elasticsearch", "retried_records_total") > before, 60, "records are refused for now")
        time.sleep(world.chance.uniform(3, 10))
    with world.struck(f"429: {world.metric('elasticsearch', 'retried_records_total') - before:.0f} records refused for now"):
        world.caught_up("elasticsearch")


def conflict_mapping(ignored):
    return {"properties": {"payload": {"properties": {"odd": {"type": "long", "ignore_malformed": ignored}}}}}


def conflict(world):
    """A quarter of the records have a text where the mapping wants a number, which it refuses for a while."""
    def ignore(ignored):
        world.places.get("elasticsearch").ask("PUT", f"/{world.name}/_mapping", conflict_mapping(ignored))

    ignore(False)
    world.dead["elasticsearch"] = "document_parsing_exception"
    wait_until(lambda: world.metric("elasticsearch", "dead_records_total") > 0, 30, "there are dead letters")
    time.sleep(world.chance.uniform(1, 5))
    with world.struck("mapping conflict"):
        ignore(True)
        world.caught_up("elasticsearch")


def node_replaced(world):
    """As an operator does it: a second node joins and gets a copy of every shard, the first gives its vote back, and is stopped for
    good."""
    old = world.node
    new = begun(Node, world.dir / "new-node", port=world.new_port, first=old.port)
    world.ending.callback(new.stop)
    assert new.ask("GET", "/_cluster/health?wait_for_nodes=2&timeout=30s")["number_of_nodes"] == 2
    wait_until(lambda: new.ask("GET", "/_cluster/health")["status"] == "green", 90, "the second node has a copy of all", every=0.2)
    new.request("POST", f"/_cluster/voting_config_exclusions?node_names={old.name}&timeout=30s").raise_for_status()
    old.stop()
    with world.struck("node replaced"):
        world.caught_up("elasticsearch")
        wait_until(lambda: world.metric("elasticsearch", "up") == 1, 30, "the sink is up")


AWAY = absences("elasticsearch")
WAYS = [way("elasticsearch", 3, 8, *modes) for modes in (("freeze", "garbage"), ("cut", "empty"), ("slow", "redirect"))]
PLAYS = [*AWAY, full, *WAYS, queue_full, conflict, node_replaced]
FULL = len(PLAYS)


def prepare(world):
    place, play = world.places.get("elasticsearch"), play_of(PLAYS, world)
    in_turn(world, len(PLAYS), "elasticsearch")
    if play is AWAY[0]:
        outlast(world)
    elif play is queue_full:
        world.ending.enter_context(place.settings("thread_pool.write.size: 1\nthread_pool.write.queue_size: 1\n"))
    elif play is conflict:
        place.ask("PUT", f"/{world.name}", {"mappings": conflict_mapping(True)})
        world.options += ["--payload", '{"temperature":{walk:-20.00:45.00},"odd":{random:1|2|3|"none"}}']
    elif play is node_replaced:
        port = free_ports(2)
        world.new_port = free_ports(2)
        world.node = begun(Node, world.dir / "old-node", port=port, first=port)
        world.ending.callback(world.node.stop)
        world.change_sink("elasticsearch", nodes=[world.node.url, f"http://127.0.0.1:{world.new_port}"])
        world.sources["elasticsearch"] = f"http://127.0.0.1:{world.new_port}/{world.name}"


def strike(world):
    play_of(PLAYS, world)(world)
