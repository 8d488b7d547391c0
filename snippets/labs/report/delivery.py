"""What the site shows of the lab on delivery."""

from collections.abc import Sequence

from snippets.labs.plan import AnyCell
from snippets.labs.record import Lab
from snippets.labs.report.loss import LABELS, entries, overview
from snippets.labs.report.tables import outcomes

TITLES = {
    "default-client": "Redis(…), which repeats a command",
    "client-from-url": "Redis.from_url(…), which repeats nothing",
    "default-client-idmp": "Redis(…) with XADD IDMP",
    "idempotence-off": "Producer without idempotence",
    "idempotence-on": "Producer with idempotence",
    "unbounded": "A log without a bound",
    "maxlen": "XADD MAXLEN = 100",
    "maxlen-acked": "XADD MAXLEN = 100 ACKED",
    "retention-ms": "A retention shorter than the outage",
    "noeviction": "maxmemory-policy noeviction",
    "volatile-lru": "maxmemory-policy volatile-lru",
    "allkeys-lru": "maxmemory-policy allkeys-lru",
    "xack-after": "XACK after the work",
    "xack-before": "XACK before the work",
    "noack": "XREADGROUP NOACK",
    "commit-after": "Commit after the work",
    "commit-before": "Commit before the work",
    "auto-commit": "kafka-python commits by itself",
    "auto-commit-librdkafka": "librdkafka commits by itself",
}


def pieces(lab: Lab, planned: Sequence[AnyCell]) -> dict[str, str]:
    """Return what the pages include, by the name of the file.

    Args:
        lab: What is recorded.
        planned: What the lab would run.
    """
    shown = entries(lab, planned)
    found = {"overview.txt": overview(lab, shown)}
    for system in LABELS:
        own = [each for each in shown if each.system == system]
        label = f"{system.capitalize()}: what clients lose or do twice"
        found[f"{system}.txt"] = outcomes(label, own, TITLES)
    return found
