"""The lab on delivery: what clients lose or do twice while the servers are well.

To add a case, write a `Scenario` (see `scenarios`) and name it in `full`. What a cell
must show is said in `EXPECTATIONS`, and asserted whenever it runs.
"""

from collections.abc import Iterable
from dataclasses import replace

from snippets.labs.faults.plain import Plain
from snippets.labs.plan import Expectation, LabPlan
from snippets.labs.record import Trial
from snippets.labs.scenarios.clients import BATCH, kind_of
from snippets.labs.scenarios.consumers import KILLED, STALLED, Consumers
from snippets.labs.scenarios.interface import Mishap, Scenario, ScenarioCell
from snippets.labs.scenarios.lost_reply import (
    IN_A_ROW,
    KAFKA,
    KAFKA_PRODUCERS,
    LOST_REPLY,
    REDIS,
    REDIS_CLIENTS,
)
from snippets.labs.scenarios.memory import FULL, POLICIES
from snippets.labs.scenarios.rebalance import JOINS, LEAVES, SHARED, Rebalance
from snippets.labs.scenarios.trimmed import BOUND, DURING, OUTAGE, STREAMS, TOPICS
from snippets.labs.trial import Plan
from snippets.labs.workspace import Workspace
from snippets.servers.cache import root

QUESTION = (
    "When a client dies, stalls, misses a reply or stays away for too long, which "
    "acknowledged values does nobody process, and which are stored or processed twice?"
)

RATES = {"redis": 500.0, "kafka": 300.0}
TRIAL_S = {"redis": 4.0, "kafka": 15.0}
TRIALS = 5

REDIS_KINDS = ("xack-after", "xack-before", "noack")
KAFKA_KINDS = ("commit-after", "commit-before", "auto-commit", "auto-commit-librdkafka")
HAND_OFF = (
    "xack-hand-off",
    "xack-when-done",
    "auto-commit-hand-off",
    "commit-when-done",
)
JOINING = (
    "xack-after",
    "auto-commit",
    "commit-after",
    "commit-seldom",
    "commit-seldom-cooperative",
    "commit-seldom-listener",
    "auto-commit-librdkafka",
    "commit-when-done",
    "commit-after-librdkafka",
    "commit-after-kip-848",
    "commit-seldom-kip-848",
    "commit-listener-kip-848",
)
LEAVING = (
    "xack-after",
    "noack",
    "auto-commit",
    "commit-after",
    "commit-seldom",
    "commit-seldom-listener",
    "commit-done-listener",
    "commit-after-librdkafka",
    "commit-after-kip-848",
)


def _cells(mishap: Mishap, scenarios: Iterable[Scenario]) -> list[ScenarioCell]:
    return [
        ScenarioCell(
            system=each,
            fault=mishap,
            medium=Plain(root()),
            backend="",
            plan=Plan(RATES[each.system], (0.0, 0.0)),
            trials=TRIALS,
            trial_s=TRIAL_S[each.system],
        )
        for each in scenarios
    ]


def _consumers(mishap: Mishap, *kinds: str) -> list[ScenarioCell]:
    return _cells(
        mishap,
        [
            Consumers(each, REDIS if kind_of(each).system == "redis" else KAFKA, mishap)
            for each in kinds
        ],
    )


def _pairs(mishap: Mishap, *kinds: str) -> list[ScenarioCell]:
    return _cells(
        mishap,
        [
            Rebalance(each, REDIS if kind_of(each).system == "redis" else SHARED, mishap)
            for each in kinds
        ],
    )


def skips(trial: Trial) -> bool:
    """Tell whether a part of one batch was never processed, and nothing twice."""
    return 0 < trial.unprocessed <= BATCH and trial.repeated == 0


def repeats(trial: Trial) -> bool:
    """Tell whether a part of one batch was processed twice, and nothing skipped."""
    return trial.unprocessed == 0 and 0 < trial.repeated <= BATCH


def exactly(trial: Trial) -> bool:
    """Tell whether each value was processed, and none of them twice."""
    return trial.unprocessed == trial.repeated == 0


def again(trial: Trial) -> bool:
    """Tell whether something was processed twice, and nothing skipped."""
    return trial.unprocessed == 0 < trial.repeated


def _once(trial: Trial) -> bool:
    return trial.duplicated == trial.unacknowledged == 0


def _refuses(trial: Trial) -> bool:
    return trial.lost == trial.unprocessed == 0 < trial.refused and trial.group == "kept"


EXPECTATIONS = (
    Expectation(
        "*", "something was at stake", lambda t: t.acknowledged > 0, control=True
    ),
    Expectation("*", "no value appears from nowhere", lambda t: t.phantom == 0),
    *(
        Expectation(
            cells, "the log keeps everything", lambda t: t.lost == 0, control=True
        )
        for cells in (
            "*/consumer-s*",
            "*/consumer-joins",
            "*/consumer-leaves",
            "*/lost-replies",
            "*/unbounded/*",
        )
    ),
    Expectation(
        "redis/default-client/lost-replies",
        "the client repeats the command, and one value is stored four times",
        lambda t: t.duplicated == IN_A_ROW and t.unacknowledged == 0,
    ),
    Expectation(
        "redis/client-from-url/lost-replies",
        "nothing is repeated, and three values are stored without their writer's knowing",
        lambda t: t.duplicated == 0 and t.unacknowledged == IN_A_ROW,
    ),
    Expectation(
        "redis/default-client-idmp/lost-replies",
        "each value is stored once, and its writer knows",
        _once,
    ),
    Expectation(
        "kafka/idempotence-off/lost-replies",
        "the producer repeats its batches, and values are stored again",
        lambda t: t.duplicated >= IN_A_ROW,
    ),
    Expectation(
        "kafka/idempotence-on/lost-replies",
        "each value is stored once, in order, and its writer knows",
        lambda t: _once(t) and t.reordered == 0,
    ),
    *(
        Expectation(
            f"{cells}/consumer-outage",
            "nothing is skipped",
            exactly,
        )
        for cells in ("*/unbounded", "redis/maxlen-acked")
    ),
    Expectation(
        "redis/maxlen/consumer-outage",
        "all but the newest hundred is skipped",
        lambda t: t.unprocessed >= DURING - BOUND and t.repeated == 0,
    ),
    Expectation(
        "kafka/retention-ms/consumer-outage",
        "what has expired is skipped, without an error",
        lambda t: t.unprocessed >= DURING and t.repeated == 0,
    ),
    Expectation(
        "redis/noeviction/memory-full",
        "writes are refused, and nothing is lost",
        _refuses,
    ),
    Expectation(
        "redis/volatile-lru/memory-full",
        "a stream that never expires stays, and writes are refused",
        _refuses,
    ),
    Expectation(
        "redis/allkeys-lru/memory-full",
        "the stream and its group are gone",
        lambda t: t.lost >= t.acknowledged > t.unprocessed > 0 and t.group == "gone",
    ),
    *(
        Expectation(f"{kind}/consumer-sigkill", "the rest of the batch is skipped", skips)
        for kind in (
            "redis/noack",
            "redis/xack-before",
            "kafka/commit-before",
            "kafka/auto-commit-librdkafka",
        )
    ),
    *(
        Expectation(
            f"{kind}/consumer-sigkill",
            "the begun batch is done again and nothing is skipped",
            repeats,
        )
        for kind in ("redis/xack-after", "kafka/commit-after", "kafka/auto-commit")
    ),
    *(
        Expectation(
            f"{kind}/consumer-stalls",
            "nothing is skipped, a batch is done twice",
            repeats,
        )
        for kind in ("redis/xack-after", "kafka/commit-after", "kafka/auto-commit")
    ),
    *(
        Expectation(
            f"{kind}/consumer-sigkill",
            "what the thread had left to do is skipped",
            lambda t: t.unprocessed > BATCH and t.repeated == 0,
        )
        for kind in ("redis/xack-hand-off", "kafka/auto-commit-hand-off")
    ),
    *(
        Expectation(
            f"{kind}/consumer-sigkill",
            "nothing is skipped, and no more than a batch done again",
            lambda t: t.unprocessed == 0 and t.repeated <= BATCH,
        )
        for kind in ("redis/xack-when-done", "kafka/commit-when-done")
    ),
    *(
        Expectation(f"{kind}/consumer-joins", "each value is processed once", exactly)
        for kind in (
            "redis/xack-after",
            "kafka/auto-commit",
            "kafka/commit-after",
            "kafka/commit-seldom-listener",
            "kafka/auto-commit-librdkafka",
            "kafka/commit-after-*",
            "kafka/commit-listener-kip-848",
        )
    ),
    *(
        Expectation(
            f"{kind}/consumer-joins", "what is not committed is done twice", again
        )
        for kind in (
            "kafka/commit-seldom",
            "kafka/commit-seldom-cooperative",
            "kafka/commit-seldom-kip-848",
            "kafka/commit-when-done",
        )
    ),
    *(
        Expectation(f"{kind}/consumer-leaves", "the rest of the batch is skipped", skips)
        for kind in (
            "redis/noack",
            "kafka/auto-commit",
            "kafka/commit-seldom-listener",
        )
    ),
    *(
        Expectation(
            f"{kind}/consumer-leaves", "what is not acknowledged is done twice", again
        )
        for kind in (
            "redis/xack-after",
            "kafka/commit-after",
            "kafka/commit-seldom",
            "kafka/commit-after-*",
        )
    ),
    # Who stays may go on where it was itself, and not where the other has committed.
    Expectation(
        "kafka/commit-done-listener/consumer-leaves",
        "nothing is skipped, and no more than a batch done again",
        lambda t: t.unprocessed == 0 and t.repeated <= BATCH,
    ),
)


def full() -> LabPlan:
    """Return all cells of the lab."""
    cells = [
        *_cells(LOST_REPLY, (*REDIS_CLIENTS, *KAFKA_PRODUCERS)),
        *_cells(OUTAGE, (*STREAMS, *TOPICS)),
        *_cells(FULL, POLICIES),
        *_consumers(KILLED, *REDIS_KINDS, *KAFKA_KINDS),
        *_consumers(STALLED, "xack-after", "commit-after", "auto-commit"),
        *_consumers(KILLED, *HAND_OFF),
        *_pairs(JOINS, *JOINING),
        *_pairs(LEAVES, *LEAVING),
    ]
    return LabPlan("delivery", QUESTION, cells, EXPECTATIONS)


QUICK = (
    "redis/maxlen/consumer-outage",
    "redis/maxlen-acked/consumer-outage",
    "redis/allkeys-lru/memory-full",
    "redis/default-client/lost-replies",
    "redis/default-client-idmp/lost-replies",
    "kafka/idempotence-off/lost-replies",
    "kafka/idempotence-on/lost-replies",
    "redis/xack-after/consumer-sigkill",
    "redis/noack/consumer-sigkill",
    "kafka/auto-commit/consumer-sigkill",
    "kafka/auto-commit-librdkafka/consumer-sigkill",
    "kafka/auto-commit-hand-off/consumer-sigkill",
    "kafka/commit-seldom/consumer-joins",
    "kafka/commit-seldom-listener/consumer-joins",
)


def quick(place: Workspace) -> LabPlan:  # noqa: ARG001
    """Return the headlines, with one trial each.

    Args:
        place: Where it would be tried what works here; all of this works anywhere.
    """
    lab = full()
    cells = [replace(cell, trials=1) for cell in lab.cells if cell.name in QUICK]
    return replace(lab, cells=cells)
