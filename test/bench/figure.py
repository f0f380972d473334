"""One figure: what was measured, run by run, beside the limit it must not pass; and the targets there are."""

import statistics


class Figure:
    def __init__(self, name, what, unit, limit=None, digits=2, peer=""):
        self.name = name
        self.what = what
        self.unit = unit
        self.limit = limit  # a number, or None
        self.digits = digits
        self.peer = peer  # what the best comparable program needs, in words
        self.values = []
        self.more = {}  # other numbers of the same runs: name -> list
        self.missing = None  # why it could not be measured

    def add(self, value, **more):
        self.values.append(value)
        for name, number in more.items():
            self.more.setdefault(name, []).append(number)
        return self

    @property
    def value(self):
        return statistics.median(self.values) if self.values else None

    @property
    def ok(self):
        """None where there is nothing to judge."""
        if self.limit is None:
            return None
        return self.value is not None and self.value <= self.limit

    def text(self, value):
        return "-" if value is None else f"{value:,.{self.digits}f}"

    @property
    def spread(self):
        return f"{self.text(min(self.values))} - {self.text(max(self.values))}" if self.values else self.missing or "-"

    def json(self):
        """As it stands in build/bench.json; of the other numbers their medians."""
        out = {"name": self.name, "value": self.value, "unit": self.unit, "limit": self.limit,
               "runs": len(self.values), "spread": [min(self.values), max(self.values)] if self.values else None,
               "ok": self.ok, "what": self.what, "peer": self.peer, "digits": self.digits, "values": self.values,
               "missing": self.missing}
        out.update({name: statistics.median(numbers) for name, numbers in self.more.items()})
        return out

    @classmethod
    def of_json(cls, row):
        """The figure again, of what json() wrote."""
        figure = cls(row["name"], row["what"], row["unit"], row["limit"], row["digits"], row["peer"])
        figure.values, figure.missing = row["values"], row["missing"]
        known = {*figure.json(), "ok", "runs", "spread"}
        figure.more = {name: [number] for name, number in row.items() if name not in known}
        return figure


# -- the targets -------------------------------------------------------------------------------------------------------

US = "us/message"
X = "reference times"

# name: what, unit, limit, digits, best peer (processor time without durability, measured on other days).
TARGETS = {
    "tcp_us": ("TCP lines, 8 connections, saturated", US, 0.45, 2, "1.05 copies without parsing, 1.55"),
    "tcp_200k_us": ("TCP lines at a fixed 200,000 a second, 8 connections", US, 0.8, 2, ""),
    "tcp_200k_p99_ms": ("of the same runs: p99 to acknowledge, from the intended time", "ms", 3, 2, ""),
    "mqtt0_us": ("MQTT QoS 0, 8 connections", US, 0.55, 2, "1.45"),
    "mqtt1_us": ("MQTT QoS 1, window 100, 8 connections", US, 0.7, 2, "5.3"),
    "http_batch_us": ("HTTP, NDJSON batches of 100, 8 connections", US, 0.7, 2, ""),
    "http_over_spike_us": ("HTTP, one per request, 64 connections: above the suspend and resume spike", US, 1.5, 2,
                           "8.9 (best run; median 15) for the whole"),
    "coap_us": ("CoAP CON, 1,000 endpoints", US, 2.4, 2, "6.1 bare libcoap server"),
    "coap_echo_x": ("the same, divided by a bare recvmmsg and sendmmsg echo", "x", 1.4, 2, ""),
    "kafka_us": ("TCP to Kafka, whole way: lz4, idempotent, header id, a real broker", US, 2.3, 2,
                 "1.67 without parsing and header, 3.98"),
    "elasticsearch_us": ("TCP to Elasticsearch, whole way, a real server", US, 1.8, 2, "2.62 without parsing, 4.10"),
    "rate_100_x": ("MQTT QoS 1, 100 a second, divided by Mosquitto's processor time", "x", 3.5, 2, ""),
    "rate_1k_x": ("the same at 1,000 a second", "x", 2, 2, ""),
    "rate_5k_x": ("the same at 5,000 a second", "x", 1.2, 2, ""),
    "rate_20k_x": ("the same at 20,000 a second", "x", 0.9, 2, ""),
    "rate_100k_x": ("the same at 100,000 a second", "x", 0.6, 2, ""),
    "lane_ns": ("lane, 256-byte record, two cores, published every 64", "ns/record", 18, 1, ""),
    "lane_ck_x": ("the same, divided by ck_ring moving the same bytes", "x", 1, 2, ""),
    "validator_us": ("JSON validator, telemetry document", "us/document", 0.15, 3, "0.13 simdjson, 0.97 cJSON"),
    "idle_kb": ("resident memory of an idle MQTT connection, of 10,000", "kB", 0.7, 2, "0.73"),
    "idle_cpu": ("processor time of one core while 10,000 are idle (keep-alive 60 s, a ping every 30 s)", "%", 0.5, 2, ""),
    "ack_p50_x": ("to acknowledge at 50 % of the saturation rate, p50", X, 2, 2, ""),
    "ack_p99_x": ("to acknowledge at 50 % of the saturation rate, p99", X, 5, 2, ""),
    "single_x": ("one message alone on an idle gateway", X, 1.5, 2, ""),
    "reconnect_s": ("10,000 MQTT clients reconnecting at once, until all are in", "s", 3, 2, ""),
    "recovery_s": ("recovery of a 10 GiB journal, until ready to accept", "s", 3, 2, ""),
    "start_ms": ("start to ready, empty journal", "ms", 50, 0, ""),
}


def target(name):
    what, unit, limit, digits, peer = TARGETS[name]
    return Figure(name, what, unit, limit, digits, peer)
