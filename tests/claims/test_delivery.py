"""What clients lose or do twice while the servers are well, as the lab has recorded it.

To record the cells again takes `nox -s labs -- delivery`.
"""

from collections.abc import Sequence

from snippets.labs.delivery import repeats, skips
from snippets.labs.record import Trial
from snippets.labs.scenarios.trimmed import BOUND, DURING
from tests.ledger import claim


@claim(servers="kafka", since="0.11", lab="delivery", cells=["kafka/idempotence-off/*"])
def test_kafka_producer_without_idempotence_stores_copies(
    trials: Sequence[Trial],
) -> None:
    """A kafka-python producer with `enable_idempotence=False` stores records again when
    replies are lost, with `acks=all` too.
    """
    assert all(each.duplicated > 0 for each in trials)


@claim(servers="redis", since="5.0", lab="delivery", cells=["redis/maxlen/*"])
def test_redis_trimming_skips_what_a_consumer_was_away_for(
    trials: Sequence[Trial],
) -> None:
    """While a Redis group is away, `XADD … MAXLEN = 100` trims entries that it has not
    read; the group never gets them, and no error says so.
    """
    assert all(each.unprocessed >= DURING - BOUND for each in trials)


@claim(servers="redis", since="8.2", lab="delivery", cells=["redis/maxlen-acked/*"])
def test_redis_trimming_acked_waits_for_a_consumer_that_is_away(
    trials: Sequence[Trial],
) -> None:
    """`XADD … MAXLEN = 100 ACKED` trims nothing that a group has not acknowledged: after
    an outage of its consumers it gets every entry.
    """
    assert all(each.unprocessed == 0 for each in trials)


@claim(servers="kafka", since="0.10", lab="delivery", cells=["kafka/retention-ms/*"])
def test_kafka_retention_skips_what_a_consumer_was_away_for(
    trials: Sequence[Trial],
) -> None:
    """When Kafka's retention ends during a consumer's outage, the group skips the expired
    records, and no error says so.
    """
    assert all(each.unprocessed >= DURING for each in trials)


@claim(servers="redis", since="5.0", lab="delivery", cells=["redis/noack/*"])
def test_redis_noack_loses_the_batch_of_a_killed_consumer(
    trials: Sequence[Trial],
) -> None:
    """With `XREADGROUP … NOACK`, what a killed consumer had in hand is lost to it."""
    assert all(map(skips, trials))


@claim(
    servers="redis",
    since="6.2",
    lab="delivery",
    cells=["redis/xack-after/consumer-sigkill"],
)
def test_redis_acknowledging_after_the_work_repeats_and_skips_nothing(
    trials: Sequence[Trial],
) -> None:
    """When a Redis consumer that acknowledges after the work is killed, another one does
    a part of its batch again, and nothing is skipped.
    """
    assert all(map(repeats, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/auto-commit-librdkafka/consumer-sigkill"],
)
def test_kafka_auto_commit_of_librdkafka_skips_the_batch_of_a_killed_consumer(
    trials: Sequence[Trial],
) -> None:
    """With auto-commit, librdkafka commits what it has handed out: what a killed consumer
    had in hand is never processed.
    """
    assert all(map(skips, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/commit-after/consumer-stalls"],
)
def test_kafka_consumer_that_stalls_does_its_batch_beside_its_heir(
    trials: Sequence[Trial],
) -> None:
    """When a Kafka consumer stalls in the middle of a batch, the group gives its records
    to another one: they are processed twice, and nothing is skipped.
    """
    assert all(map(repeats, trials))
