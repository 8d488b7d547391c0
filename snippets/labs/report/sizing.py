"""Calls of the sizing model with their results, for other implementations of it."""

import json
import math
from collections.abc import Mapping
from typing import Any

from snippets.labs import sizing
from snippets.labs.sizing import Load

# The constants are given by name: `docs/data/memory.json` has them.
CONSTANTS = "constants"

DAY_S = 86_400
SMALL = {"per_second": 1_000, "value_bytes": 100, "fields": 1, "name_bytes": 5}
LARGE = {"per_second": 30_000, "value_bytes": 1_000, "fields": 1, "name_bytes": 5}
ORDER = {"per_second": 500, "value_bytes": 20, "fields": 4, "name_bytes": 8}
NONE = {"per_second": 0, "value_bytes": 100, "fields": 1, "name_bytes": 5}
FEWER = {**SMALL, "per_second": -1}

CALLS: tuple[tuple[str, dict[str, Any]], ...] = (
    *(
        ("redis_stream_bytes", {"load": load, "retention_s": kept})
        for load in (SMALL, LARGE, ORDER, NONE)
        for kept in (0, 3_600, DAY_S)
    ),
    ("redis_stream_bytes", {"load": FEWER, "retention_s": 1}),
    ("redis_stream_bytes", {"load": SMALL, "retention_s": -1}),
    *(
        ("redis_pending_bytes", {"pending": pending, "groups": groups})
        for pending in (0, 10_000)
        for groups in (0, 1, 3)
    ),
    ("redis_pending_bytes", {"pending": 1, "groups": -1}),
    *(
        (
            "redis_memory_to_buy_bytes",
            {
                "data_bytes": 1e9,
                "replicas": replicas,
                "fragmentation": 1.2,
                "fork_share": copied,
            },
        )
        for replicas in (0, 1, 2)
        for copied in (0, 0.2)
    ),
    *(
        (
            "redis_log_bytes_per_s",
            {"load": load, "groups": groups, "count": count, "mode": mode},
        )
        for load in (SMALL, ORDER)
        for groups in (0, 1, 3)
        for count, mode in ((1, "XACK"), (100, "XACK"), (10, "XACKDEL"), (10, "NOACK"))
    ),
    ("redis_log_bytes_per_s", {"load": SMALL, "groups": 1, "count": 0, "mode": "XACK"}),
    ("redis_log_bytes_per_s", {"load": SMALL, "groups": 1, "count": 1, "mode": "XNACK"}),
    *(
        (
            "kafka_record_bytes",
            {"load": load, "records_per_batch": records, "ratio": ratio},
        )
        for load in (SMALL, LARGE, ORDER)
        for records in (1, 100)
        for ratio in (1, 0.25)
    ),
    ("kafka_record_bytes", {"load": SMALL, "records_per_batch": 1, "ratio": 0}),
    (
        "kafka_disk_bytes",
        {
            "record_bytes": 1_000,
            "per_second": 30_000,
            "retention_s": 7 * DAY_S,
            "replication": 3,
            "fill": 1,
        },
    ),
    (
        "kafka_disk_bytes",
        {
            "record_bytes": 1_000,
            "per_second": 1_000_000,
            "retention_s": 7 * DAY_S,
            "replication": 3,
            "fill": 0.6,
        },
    ),
    ("kafka_page_cache_bytes", {"bytes_per_s": 10e6, "buffered_s": 30}),
    ("kafka_commit_bytes_per_s", {"groups": 3, "partitions": 12, "interval_s": 5}),
    ("kafka_commit_bytes_per_s", {"groups": 3, "partitions": 12, "interval_s": 0}),
    *(
        (
            "partitions",
            {
                "bytes_per_s": carried,
                "producer_bytes_per_s": 10e6,
                "consumer_bytes_per_s": 50_000,
                "headroom": 1,
            },
        )
        for carried in (0, 500_000, 500_001)
    ),
    *(
        (
            "consumers",
            {"per_second": 500, "processing_s": 0.02, "concurrency": n, "busy": 0.7},
        )
        for n in (1, 10)
    ),
    ("consumers", {"per_second": 1, "processing_s": 1, "concurrency": 1, "busy": 2}),
    ("in_flight", {"per_second": 500, "processing_s": 0.02}),
    (
        "redis_egress_bytes_per_s",
        {"sent_bytes_per_s": 1e6, "log_bytes_per_s": 3e6, "groups": 2, "replicas": 1},
    ),
    ("kafka_egress_bytes_per_s", {"bytes_per_s": 1e6, "groups": 2, "replication": 3}),
    ("catch_up_s", {"outage_s": 600, "per_second": 500, "capacity_per_s": 750}),
    ("catch_up_s", {"outage_s": 600, "per_second": 500, "capacity_per_s": 500}),
    ("longest_backlog", {"outage_s": 600, "per_second": 500}),
    *(
        (
            "overflow_s",
            {"limit": 1e6, "backlog": waiting, "per_second": 500, "drained": drained},
        )
        for waiting in (0, 1e6)
        for drained in (400, 500)
    ),
    ("lost_at_most", {"per_second": 500, "window_s": 2}),
    *(
        (
            "break_even_s",
            {
                "redis_fixed": 50,
                "redis_per_s": redis,
                "kafka_fixed": 300,
                "kafka_per_s": 0.001,
            },
        )
        for redis in (0.01, 0.001)
    ),
)


def _call(
    name: str, given: Mapping[str, Any], constants: sizing.Constants
) -> dict[str, Any]:
    """Return what a call comes to: a result, or what the error says."""
    function = getattr(sizing, name)
    arguments = dict(given)
    if CONSTANTS in function.__annotations__:
        arguments[CONSTANTS] = constants
    try:
        if "load" in arguments:
            arguments["load"] = Load(**arguments["load"])
        result = function(**arguments)
    except ValueError as error:
        return {"error": str(error)}
    # JSON has no infinity.
    return {"result": None if math.isinf(result) else round(result, 6)}


def pieces(constants: sizing.Constants) -> dict[str, str]:
    """Return the vectors, by the name of the file.

    Args:
        constants: What the lab on memory has fitted.
    """
    vectors = [
        {"function": name, "arguments": given, **_call(name, given, constants)}
        for name, given in CALLS
    ]
    whole = {
        "about": "Calls of snippets/labs/sizing.py; null is infinite. Where a function "
        "takes constants, they are those of memory.json.",
        "vectors": vectors,
    }
    return {"vectors.json": json.dumps(whole, indent=1) + "\n"}
