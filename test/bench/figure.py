"""One figure: what was measured, run by run, beside the limit it must not pass."""

import statistics


class Figure:
    def __init__(self, name, what, unit, limit=None, digits=2):
        self.name = name
        self.what = what
        self.unit = unit
        self.limit = limit  # a number, or None
        self.digits = digits
        self.values = []
        self.missing = None  # why it could not be measured

    def add(self, value):
        self.values.append(value)
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

    def row(self):
        verdict = {None: "-", True: "yes", False: "NO"}[self.ok]
        return [self.name, self.text(self.value), self.unit, self.text(self.limit), verdict, str(len(self.values)),
                self.spread]

    def json(self):
        return {"name": self.name, "what": self.what, "unit": self.unit, "value": self.value, "limit": self.limit,
                "ok": self.ok, "values": self.values, "missing": self.missing}
