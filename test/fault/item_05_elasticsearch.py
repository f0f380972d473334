"""Item 5: the search server is unavailable for a while (stopped in order, killed, or frozen), or available and unusable: its index is
read-only (as at the flood stage of a full disk), the proxy to it misbehaves (proxy.py: half-open connections, answers cut by a reset,
slow, not HTTP, unexpected, a redirect), its queue is full, a field's mapping refuses records, the node is replaced. A round runs one
of these scenarios, in this order, alternately with replay_order oldest_first and live_first; afterwards every record is there once."""

import time

from harness import free_ports, wait_until
from backends import Node, start_backend
from scenarios import alternate_replay_order, outages, outlast_outage, proxy_scenario, scenario_of

NUMBER, TITLE = 5, "Elasticsearch unavailable, refusing, misbehaving"
BOUNDED, SECONDS = 0, 20
NEEDS = ("elasticsearch",)
PROXIED = True


def full(round_):
    def block(on):
        round_.backends.get("elasticsearch").request_ok("PUT", f"/{round_.name}/_settings", {"index.blocks.read_only_allow_delete": on})

    wait_until(lambda: round_.metric("elasticsearch", "records_total") > 0, 30, "there is an index")
    block(True)
    time.sleep(round_.rng.uniform(1, 8))
    with round_.outage("read-only index"):
        block(None)
        round_.wait_caught_up("elasticsearch")


def queue_full(round_):
    """One thread writes and one request may wait (prepare): with competing writers, further requests are answered 429."""
    before = round_.metric("elasticsearch", "retried_records_total")
    with round_.backends.get("elasticsearch").competing_writers(f"{round_.name}-rival", 4, 2000):
        wait_until(lambda: round_.metric("elasticsearch", "retried_records_total") > before, 60, "records are refused temporarily")
        time.sleep(round_.rng.uniform(3, 10))
    with round_.outage(f"429: {round_.metric('elasticsearch', 'retried_records_total') - before:.0f} records refused temporarily"):
        round_.wait_caught_up("elasticsearch")


def conflict_mapping(ignored):
    return {"properties": {"payload": {"properties": {"odd": {"type": "long", "ignore_malformed": ignored}}}}}


def conflict(round_):
    """A quarter of the records have text where the mapping wants a number, and are refused for a while."""
    def ignore(ignored):
        round_.backends.get("elasticsearch").request_ok("PUT", f"/{round_.name}/_mapping", conflict_mapping(ignored))

    ignore(False)
    round_.expected_dead_letters["elasticsearch"] = "document_parsing_exception"
    wait_until(lambda: round_.metric("elasticsearch", "dead_records_total") > 0, 30, "there are dead letters")
    time.sleep(round_.rng.uniform(1, 5))
    with round_.outage("mapping conflict"):
        ignore(True)
        round_.wait_caught_up("elasticsearch")


def node_replaced(round_):
    """As an operator does it: a second node joins and gets a copy of every shard, the first is excluded from voting and is stopped for
    good."""
    old = round_.node
    new = start_backend(Node, round_.dir / "new-node", port=round_.new_port, first=old.port)
    round_.cleanup.callback(new.stop)
    assert new.request_ok("GET", "/_cluster/health?wait_for_nodes=2&timeout=30s")["number_of_nodes"] == 2
    wait_until(lambda: new.request_ok("GET", "/_cluster/health")["status"] == "green", 90, "the second node has a copy of all", every=0.2)
    new.request("POST", f"/_cluster/voting_config_exclusions?node_names={old.name}&timeout=30s").raise_for_status()
    old.stop()
    with round_.outage("node replaced"):
        round_.wait_caught_up("elasticsearch")
        wait_until(lambda: round_.metric("elasticsearch", "up") == 1, 30, "the sink is up")


OUTAGES = outages("elasticsearch")
PROXY_SCENARIOS = [proxy_scenario("elasticsearch", 3, 8, *modes) for modes in (("freeze", "garbage"), ("cut", "empty"), ("slow", "redirect"))]
SCENARIOS = [*OUTAGES, full, *PROXY_SCENARIOS, queue_full, conflict, node_replaced]
FULL = len(SCENARIOS)


def prepare(round_):
    backend, scenario = round_.backends.get("elasticsearch"), scenario_of(SCENARIOS, round_)
    alternate_replay_order(round_, len(SCENARIOS), "elasticsearch")
    if scenario is OUTAGES[0]:
        outlast_outage(round_)
    elif scenario is queue_full:
        round_.cleanup.enter_context(backend.extra_settings("thread_pool.write.size: 1\nthread_pool.write.queue_size: 1\n"))
    elif scenario is conflict:
        backend.request_ok("PUT", f"/{round_.name}", {"mappings": conflict_mapping(True)})
        round_.load_options += ["--payload", '{"temperature":{walk:-20.00:45.00},"odd":{random:1|2|3|"none"}}']
    elif scenario is node_replaced:
        port = free_ports(2)
        round_.new_port = free_ports(2)
        round_.node = start_backend(Node, round_.dir / "old-node", port=port, first=port)
        round_.cleanup.callback(round_.node.stop)
        round_.change_sink("elasticsearch", nodes=[round_.node.url, f"http://127.0.0.1:{round_.new_port}"])
        round_.sources["elasticsearch"] = f"http://127.0.0.1:{round_.new_port}/{round_.name}"


def inject(round_):
    scenario_of(SCENARIOS, round_)(round_)
