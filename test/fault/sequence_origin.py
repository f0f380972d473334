"""A journal whose sequence numbers begin at a chosen number: with a sink's cursor at that number and no journal, the gateway continues
after it (the cursor's format: docs/journal-format.md). So two years of records need not be written first."""

import struct

from journal_reader import PAGE, crc32c  # test/system


def set_sequence_origin(data, sequence, sinks):
    """Before the first start on this data directory: writes cursors by which these sinks have everything up to the sequence number."""
    cursors = data / "journal" / "cursors"
    cursors.mkdir(parents=True)
    for sink in sinks:
        rest = struct.pack("<IQQB", 1, 1, sequence, len(sink)) + sink.encode()
        rest += bytes(PAGE - 12 - len(rest))
        slot = b"SLCURSR1" + struct.pack("<I", crc32c(rest)) + rest
        (cursors / f"{sink}.cursor").write_bytes(slot + bytes(PAGE))
