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
    "xack-hand-off": "XACK when a thread is given the work",
    "xack-when-done": "XACK when a thread has done the work",
    "auto-commit-hand-off": "kafka-python commits by itself, a thread works",
    "commit-when-done": "Commit of what a thread has done",
    "commit-seldom": "Commit when no record is left",
    "commit-seldom-cooperative": "The same, with the cooperative assignor",
    "commit-seldom-listener": "The same, and a commit in the rebalance listener",
    "commit-done-listener": "The same, and in the listener the offsets of what is done",
    "commit-after-librdkafka": "librdkafka, commit after the work",
    "commit-after-kip-848": "librdkafka by KIP-848, commit after the work",
    "commit-seldom-kip-848": "librdkafka by KIP-848, commit when no record is left",
    "commit-listener-kip-848": "librdkafka by KIP-848, and a commit in the callback",
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
