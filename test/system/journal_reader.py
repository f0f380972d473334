"""A reader of the journal, written from docs/journal-format.md alone: what that page does not tell, this does not know."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

PAGE = 4096
KINDS = {1: "telemetry", 2: "state", 3: "dead"}
HAS_STATE = 4


def _table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


_TABLE = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


assert crc32c(b"123456789") == 0xE3069283


@dataclass
class Change:
    op: int
    scope: bytes
    group: bytes
    member: bytes
    value: bytes
    expires: int


@dataclass
class Entry:
    kind: int
    received: int
    time: int
    id: bytes
    device: bytes
    json: bytes
    changes: list
    sequence: int = 0
    segment: int = 0
    offset: int = 0


@dataclass
class Block:
    offset: int
    first: int
    count: int
    time: int
    checkpoint: bool
    body: bytes
    size: int


@dataclass
class Damage:
    segment: int
    offset: int
    first_lost: int
    records_lost: int


@dataclass
class Segment:
    number: int
    data: bytes
    version: int
    generation: int
    first: int
    kept_from: int = 0
    spoilt: bool = False


@dataclass
class Journal:
    directory: Path
    segments: list = field(default_factory=list)
    spares: int = 0
    damage: list = field(default_factory=list)
    state: dict = field(default_factory=dict)

    # -- segments

    @classmethod
    def open(cls, data):
        journal = cls(Path(data) / "journal")
        found = []
        for path in sorted(journal.directory.glob("[0-9]" * 8 + ".segment")):
            segment = _segment(int(path.stem), path.read_bytes())
            if segment:
                found.append(segment)
            else:
                journal.spares += 1
        least = None
        for segment in sorted(found, key=lambda s: s.generation, reverse=True):
            if least is None or segment.first < least:  # else one of higher generation has taken its place
                journal.segments.insert(0, segment)
                least = segment.first
            else:
                journal.spares += 1
        kept_from = max((s.kept_from for s in journal.segments), default=0)
        while len(journal.segments) > 1 and journal.segments[1].first <= kept_from:  # given up
            journal.segments.pop(0)
            journal.spares += 1
        return journal

    # -- blocks

    def blocks(self):
        """(segment, block) for all that count, in order; what is damaged comes into .damage."""
        self.damage = []
        for index, segment in enumerate(self.segments):
            end = self.segments[index + 1].first if index + 1 < len(self.segments) else None
            at, expected = PAGE, segment.first
            while True:
                block = _block(segment.data, at, segment.generation)
                if not block or block.first < expected:
                    block = next((b for o in range(at + PAGE, len(segment.data), PAGE)
                                  if (b := _block(segment.data, o, segment.generation)) and b.first >= expected), None)
                    if block and (end is None or block.first < end):
                        self.damage.append(Damage(segment.number, at, expected, block.first - expected))
                if not block or (end is not None and block.first >= end):
                    break
                yield segment, block
                at = block.offset + block.size
                if not block.checkpoint:
                    expected = block.first + block.count
            if end is not None and expected < end:
                self.damage.append(Damage(segment.number, at, expected, end - expected))

    def entries(self):
        """Every entry that has a sequence, of every kind. Makes .state on its way."""
        self.state = {}
        for segment, block in self.blocks():
            if block.checkpoint or block.offset == PAGE:
                self.state = {}
            at = 0
            for index in range(block.count):
                entry, size = _entry(block.body, at)
                for change in entry.changes:
                    self._apply(change)
                if not block.checkpoint:
                    entry.sequence, entry.segment, entry.offset = block.first + index, segment.number, block.offset + 64 + at
                    yield entry
                at += size

    def _apply(self, change):
        name = (change.scope, change.group, change.member)
        if change.op == 1:
            self.state[name] = change
        elif change.op == 2:
            self.state.pop(name, None)
        elif change.op == 3:
            self.state = {k: v for k, v in self.state.items() if k[:2] != name[:2]}

    # -- cursors

    def cursors(self):
        """The sequence of each sink; None: neither slot is valid."""
        out = {}
        for path in (self.directory / "cursors").glob("*.cursor"):
            slots = [s for s in (_slot(path.read_bytes(), at) for at in (0, PAGE)) if s]
            out[path.stem] = max(slots)[1] if slots else None
        return out

    def ahead(self):
        """Of each sink the (first, last) of what it has above its sequence."""
        end = max((b.first + b.count - 1 for _, b in self.blocks() if not b.checkpoint), default=0)
        out = {}
        for path in (self.directory / "cursors").glob("*.cursor"):
            slots = [s for s in (_slot(path.read_bytes(), at) for at in (0, PAGE)) if s]
            _, sequence, stretches = max(slots) if slots else (0, 0, [])
            if stretches and stretches[-1][1] > end:
                stretches = []  # the journal ends before it: it is not the one that they are about
            out[path.stem] = [(max(first, sequence + 1), last) for first, last in stretches if last > sequence]
        return out


def _segment(number, data):
    if len(data) >= PAGE and data[:8] == b"SLUICEJ1":
        total, version, generation, first, _size, _time, kept_from = struct.unpack_from("<IIQQQQQ", data, 8)
        if total == crc32c(data[12:PAGE]):
            if version > 2:
                raise ValueError(f"segment {number} is of version {version}")
            return Segment(number, data, version, generation, first, kept_from)
    for at in range(PAGE, len(data), PAGE):
        if data[at:at + 4] == b"SLBK":
            generation = struct.unpack_from("<Q", data, at + 8)[0]
            block = _block(data, at, generation)
            if block:
                return Segment(number, data, 0, generation, block.first, spoilt=True)
    return None


def _block(data, at, generation):
    if data[at:at + 4] != b"SLBK" or at + PAGE > len(data):
        return None
    total, own, first, body, count, time, kind = struct.unpack_from("<IQQIIQI", data, at + 4)
    size = -(-(64 + body) // PAGE) * PAGE
    if own != generation or count < 1 or at + size > len(data) or crc32c(data[at + 8:at + 64 + body]) != total:
        return None
    return Block(at, first, count, time, kind == 1, data[at + 64:at + 64 + body], size)


def _entry(body, at):
    size, kind, flags, id_at, time, json_len, device_at, device_len, received = struct.unpack_from("<IBBHqIHHq", body, at)
    start = at + 32
    text = body[start:start + json_len]
    if kind == 2:
        return Entry(kind, 0, 0, b"", b"", b"", list(_changes(text))), size
    changes = []
    if flags & HAS_STATE:
        changes = list(_changes(body[start + -(-json_len // 8) * 8:at + size]))
    return Entry(kind, received, time, text[id_at:id_at + 26], text[device_at:device_at + device_len], text, changes), size


def _changes(data):
    at = 0
    while at < len(data):
        size, op, scope, group, member, value, _zero, expires = struct.unpack_from("<IBBHHHIq", data, at)
        texts, start = [], at + 24
        for length in (scope, group, member, value):
            texts.append(data[start:start + length])
            start += length
        yield Change(op, *texts, expires)
        at += size


def _slot(data, at):
    if data[at:at + 8] != b"SLCURSR1":
        return None
    total, version, count, sequence = struct.unpack_from("<IIQQ", data, at + 8)
    if version != 1 or total != crc32c(data[at + 12:at + PAGE]):
        return None
    stretches = struct.unpack_from("<I", data, at + 96)[0]
    return count, sequence, [struct.unpack_from("<QQ", data, at + 100 + 16 * n) for n in range(stretches)]
