"""Item 12: a soak; `make soak` is the long one (soak.py says what it checks)."""

from soak import QUANTITIES, SHORT_S, soak

NUMBER, TITLE = 12, "soak"
NEEDS = ()
FULL, BOUNDED = 1, 1
FULL_S, BOUNDED_S = 1800, 8


def run(round_):
    seconds = BOUNDED_S if round_.bounded else FULL_S
    (round_.root / "soak").mkdir()
    verdicts, total, _, _ = soak(round_.root / "soak", seconds, 2000, lambda text: print(text, flush=True), 10 if seconds < SHORT_S else 30)
    round_.add_verdict(total)
    for name, _, _ in QUANTITIES:
        v = verdicts[name]
        round_.note(f"{name} {v['least']:.0f} to {v['most']:.0f}, drift {v['drift']:+.0f}")
        round_.check(v["flat"], f"{name} is not flat: {v}")
