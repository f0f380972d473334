"""What items with several scenarios share: a round runs one of them, by its number; and scenarios that fit any backend
(StandardRound.backends and .proxy in campaign.py)."""

import time

from harness import wait_until  # test/system


def scenario_of(scenarios, round_):
    return scenarios[(round_.number - 1) % len(scenarios)]


def alternate_replay_order(round_, count, name, **more):
    """In every second round the sink has replay_order live_first; in a second pass through the scenarios, in the other rounds. Batches
    are small, so that few records are a backlog."""
    if (round_.number + (round_.number - 1) // count) % 2 == 0:
        round_.change_sink(name, **{"replay_order": "live_first", "replay_after": "500ms", "batch_records": 100,
                                    "replay_rate": round_.rng.choice([0, 3000]), **more})
        round_.live_first = name


def outages(name):
    """The backend is stopped in order for a minute (the load has to last longer: outlast_outage), killed, frozen."""
    def stopped(round_):
        round_.make_unavailable(name, "stopped", 60)

    def killed(round_):
        round_.make_unavailable(name, "killed", round_.rng.uniform(1, 20))

    def frozen(round_):
        round_.make_unavailable(name, "frozen", round_.rng.uniform(1, 20))
    return [stopped, killed, frozen]


def outlast_outage(round_):
    round_.duration_s = 75


def proxy_scenario(name, least_s, most_s, *modes):
    """The proxy to the backend misbehaves (proxy.py), in one mode after the other, each for this long."""
    def scenario(round_):
        for mode in modes:
            before = round_.proxy.injected
            round_.proxy.mode = mode
            wait_until(lambda before=before: round_.proxy.injected > before, 60, f"the proxy acted: {mode}")
            time.sleep(round_.rng.uniform(least_s, most_s))
            round_.proxy.mode = "pass"
            with round_.outage(f"proxy: {mode} ({round_.proxy.injected - before} times)"):
                round_.wait_caught_up(name)
    return scenario
