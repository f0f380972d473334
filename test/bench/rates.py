"""Processor time at the rates that most sites have, beside Mosquitto's at the same rate.

MQTT QoS 1, 8 connections, open loop, evenly spaced, default settings; Sluice has the null sink, Mosquitto no
subscriber, so it keeps nothing. Both run all the time and take turns, run by run."""

import contextlib

from figure import Figure, target
from machine import cpu_seconds
from services import Mosquitto
from workshop import Failed

SECONDS = 3
MQTT1 = ("-c", 8, "-w", 1000, "-q", 1)
RATES = {100: (2, 12), 1_000: (6, 12), 5_000: (6, 12), 20_000: (6, 12), 100_000: (4, 10)}  # limits: p50 and p99, ms
LEAST = 0.9  # of the rate that is asked for; below that it was not measured at that rate


def name_of(rate):
    return f"rate_{rate}_x" if rate < 1000 else f"rate_{rate // 1000}k_x"


@contextlib.contextmanager
def _mosquitto(shop):
    broker = Mosquitto(shop.directory("mosquitto"))
    try:
        yield broker.pid, f"mqtt://127.0.0.1:{broker.port}"
    finally:
        broker.stop()


def _turn(shop, who, pid, url, rate):
    """Processor time per acknowledged message in us, and the load. Nothing is asked of the server meanwhile."""
    before = cpu_seconds(pid)
    load = shop.load(url, *MQTT1, "-r", rate, "-t", f"{SECONDS}s")
    used = cpu_seconds(pid) - before
    if load.acknowledged < LEAST * rate * SECONDS:
        raise Failed(f"{who} acknowledged {load.acknowledged / SECONDS:,.0f} of {rate:,} a second")
    return used / load.acknowledged * 1e6, load


def _measure(shop, rate):
    figure = target(name_of(rate))
    base, (p50_limit, p99_limit) = figure.name.removesuffix("_x"), RATES[rate]
    ours = Figure(f"{base}_us", f"Sluice at {rate:,} a second, the same runs", "us/message")
    theirs = Figure(f"{base}_mosquitto_us", "Mosquitto in turn with it", "us/message")
    p50 = Figure(f"{base}_p50_ms", "Sluice: p50 to acknowledge, from the intended time", "ms", p50_limit)
    p99 = Figure(f"{base}_p99_ms", "Sluice: p99 to acknowledge, from the intended time", "ms", p99_limit)
    with shop.sluice("mqtt") as s, _mosquitto(shop) as (pid, url):
        for run in range(-1, shop.runs):
            us, load = _turn(shop, "Sluice", s.pid, shop.url(s, "mqtt"), rate)
            bare, _ = _turn(shop, "Mosquitto", pid, url, rate)
            if run < 0:
                continue
            figure.add(us / bare)
            ours.add(us)
            theirs.add(bare)
            p50.add(load.us("p50_us") / 1e3)
            p99.add(load.us("p99_us") / 1e3, sender_late_ms=load.raw["late_us"] / 1e3)
            shop.say(figure.name, run, f"{us:.1f} us beside {bare:.1f} us; p50 {p50.values[-1]:.2f} ms, "
                     f"p99 {p99.values[-1]:.2f} ms, sender late {load.raw['late_us'] / 1e3:.2f} ms")
    return [figure, ours, theirs, p50, p99]


MEASUREMENTS = {name_of(rate): (lambda shop, rate=rate: _measure(shop, rate), [name_of(rate)]) for rate in RATES}
