"""A journal whose numbers begin where we like: a sink's cursor that stands at a number, and no journal, makes the gateway go on
behind that number (docs/journal-format.md tells the cursor's form). So that two years of records need not be written first."""

import struct

from journal_reader import PAGE, crc32c  # test/system


def set_sequence_origin(data, sequence, sinks):
    """Before the first start on this data directory: these sinks have everything up to the number."""
    cursors = data / "journal" / "cursors"
    cursors.mkdir(parents=True)
    for sink in sinks:
        rest = struct.pack("<IQQB", 1, 1, sequence, len(sink)) + sink.encode()
        rest += bytes(PAGE - 12 - len(rest))
        slot = b"SLCURSR1" + struct.pack("<I", crc32c(rest)) + rest
        (cursors / f"{sink}.cursor").write_bytes(slot + bytes(PAGE))
