"""A configuration that bounds a gateway's memory, and that bound: for items that send more than the gateway can take."""

import re
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
LANE, BLOCK, PAYLOAD, TAIL, OUTPUT, HEAD = 64 * KIB, 64 * KIB, 8 * KIB, 256 * KIB, 64 * KIB, 16 * KIB
BODIES, EXCHANGES, BLOCKS, DATAGRAM = 4 * MIB, 8192, 1 * MIB, 8 * KIB
BATCHES, BATCH, RECORDS = 2, 256 * KIB, 2000
LISTENERS = ("mqtt", "coap", "tcp", "http")

CONFIGURATION = {
    "journal": {"segment": "1MiB", "block": BLOCK, "tail_memory": TAIL},
    "listeners": {
        "mqtt": {"lane": LANE, "max_payload": PAYLOAD, "max_output": OUTPUT, "max_packet": "16KiB"},
        "coap": {"lane": LANE, "max_payload": PAYLOAD, "exchanges": EXCHANGES, "blocks_memory": BLOCKS, "max_datagram": DATAGRAM,
                 "max_body": "8KiB"},
        "tcp": {"lane": LANE, "max_payload": PAYLOAD, "max_output": OUTPUT, "max_line": PAYLOAD},
        "http": {"lane": LANE, "max_payload": PAYLOAD, "max_head": HEAD, "max_body": "64KiB", "max_buffered": BODIES},
    },
    "sinks": {"file": {"batch_bytes": BATCH, "in_flight": BATCHES, "batch_records": RECORDS}},
}


def memory_bound(connections):
    """docs/guarantees.md, "Under overload": the same sum, for CONFIGURATION and this number of connections per listener."""
    stream = 2 * KIB + 16 * KIB + OUTPUT  # a connection; an incomplete message (max_packet); answers that are not read
    return (20 * MIB + len(LISTENERS) * (LANE + 512 * KIB) +
            (connections["mqtt"] + connections["tcp"]) * stream +
            connections["http"] * (6 * KIB + HEAD) + BODIES +
            EXCHANGES * 160 + BLOCKS + 64 * DATAGRAM +
            3 * BLOCK + TAIL + (BATCHES + 1) * (BATCH + BLOCK + RECORDS * 256))


def peak_memory(pid):
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()).group(1)) * KIB
