"""What clients lose or do twice while the servers are well, as the lab has recorded it.

To record the cells again takes `nox -s labs -- delivery`.
"""

from collections.abc import Sequence

from snippets.labs.delivery import again, exactly, repeats, skips
from snippets.labs.record import Trial
from snippets.labs.scenarios.clients import BATCH
from snippets.labs.scenarios.lost_reply import IN_A_ROW
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


@claim(
    servers="redis", since="5.0", lab="delivery", cells=["redis/noack/consumer-sigkill"]
)
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


@claim(servers="redis", since="5.0", lab="delivery", cells=["redis/client-from-url/*"])
def test_redis_client_from_url_repeats_nothing(
    trials: Sequence[Trial],
) -> None:
    """A client of redis-py 8.1 made by `Redis.from_url` repeats no command: when replies
    are lost it raises, and each entry is stored once, though its writer never hears
    so.
    """
    assert all(
        each.duplicated == 0 and each.unacknowledged == IN_A_ROW for each in trials
    )


@claim(servers="redis", since="5.0", lab="delivery", cells=["redis/xack-hand-off/*"])
def test_redis_acknowledging_at_the_hand_off_loses_what_the_thread_had_left(
    trials: Sequence[Trial],
) -> None:
    """When a Redis consumer acknowledges entries as it hands them to a thread and is
    killed, what the thread had left to do is never processed.
    """
    assert all(each.unprocessed > BATCH for each in trials)


@claim(servers="redis", since="6.2", lab="delivery", cells=["redis/xack-when-done/*"])
def test_redis_acknowledging_from_the_thread_loses_nothing(
    trials: Sequence[Trial],
) -> None:
    """When a Redis consumer that hands entries to a thread acknowledges each one that the
    thread has done and is killed, every entry is processed.
    """
    assert all(each.unprocessed == 0 for each in trials)


@claim(
    servers="kafka", since="0.9", lab="delivery", cells=["kafka/auto-commit-hand-off/*"]
)
def test_kafka_auto_commit_loses_what_a_thread_had_left_to_do(
    trials: Sequence[Trial],
) -> None:
    """When a consumer of kafka-python with auto-commit hands records to a thread and is
    killed, what the thread had left to do is never processed: `poll` had committed it.
    """
    assert all(each.unprocessed > BATCH for each in trials)


@claim(servers="kafka", since="0.9", lab="delivery", cells=["kafka/commit-when-done/*"])
def test_kafka_committing_what_a_thread_has_done_loses_nothing(
    trials: Sequence[Trial],
) -> None:
    """When a Kafka consumer that hands records to a thread commits only the offsets of
    what the thread has done and is killed, every record is processed.
    """
    assert all(each.unprocessed == 0 for each in trials)


@claim(
    servers="redis",
    since="5.0",
    lab="delivery",
    cells=["redis/xack-after/consumer-joins"],
)
def test_redis_new_consumer_changes_nothing_for_the_others(
    trials: Sequence[Trial],
) -> None:
    """When a consumer joins a Redis group while another works on its batch, each entry is
    processed once: it gets only what nobody was given.
    """
    assert all(map(exactly, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/commit-after/consumer-joins", "kafka/auto-commit/consumer-joins"],
)
def test_kafka_python_gives_no_partition_away_before_it_polls(
    trials: Sequence[Trial],
) -> None:
    """When a member joins while a consumer of kafka-python works on its batch, each
    record is processed once if it acknowledges all that it has done before it polls
    again, by commit or by auto-commit.
    """
    assert all(map(exactly, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=[
        "kafka/commit-seldom/consumer-joins",
        "kafka/commit-seldom-cooperative/consumer-joins",
    ],
)
def test_kafka_rebalance_repeats_what_is_done_and_not_committed(
    trials: Sequence[Trial],
) -> None:
    """When a member joins, records are processed again that a consumer of kafka-python
    has done and not committed, with the cooperative assignor, too.
    """
    assert all(map(again, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/commit-seldom-listener/consumer-joins"],
)
def test_kafka_committing_in_the_listener_repeats_nothing_when_a_member_joins(
    trials: Sequence[Trial],
) -> None:
    """When a member joins, a consumer of kafka-python that commits in its rebalance
    listener has each record processed once, though it commits seldom otherwise.
    """
    assert all(map(exactly, trials))


@claim(
    servers="kafka",
    since="4.0",
    lab="delivery",
    cells=[
        "kafka/commit-after-librdkafka/consumer-joins",
        "kafka/commit-after-kip-848/consumer-joins",
    ],
)
def test_kafka_confluent_client_gives_no_partition_away_in_mid_batch(
    trials: Sequence[Trial],
) -> None:
    """When a member joins while a consumer of confluent-kafka works on its batch, each
    record is processed once if it commits after each batch, by the classic protocol
    and by KIP-848.
    """
    assert all(map(exactly, trials))


@claim(
    servers="kafka",
    since="4.0",
    lab="delivery",
    cells=["kafka/commit-seldom-kip-848/consumer-joins"],
)
def test_kafka_new_protocol_repeats_what_is_done_and_not_committed(
    trials: Sequence[Trial],
) -> None:
    """When a member joins under KIP-848, `group.protocol=consumer`, records are processed
    again that a consumer of confluent-kafka has done and not committed.
    """
    assert all(map(again, trials))


@claim(
    servers="kafka",
    since="4.0",
    lab="delivery",
    cells=["kafka/commit-listener-kip-848/consumer-joins"],
)
def test_kafka_committing_on_revoke_repeats_nothing_by_the_new_protocol(
    trials: Sequence[Trial],
) -> None:
    """When a member joins under KIP-848, a consumer of confluent-kafka that commits in
    `on_revoke` has each record processed once, though it commits seldom otherwise.
    """
    assert all(map(exactly, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/commit-when-done/consumer-joins"],
)
def test_kafka_rebalance_repeats_what_a_thread_has_left_to_do(
    trials: Sequence[Trial],
) -> None:
    """When a member joins while a thread has records left to do that its Kafka consumer
    handed it, and polls on, the new member is given them as well: they are processed
    twice.
    """
    assert all(map(again, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/commit-seldom-listener/consumer-leaves"],
)
def test_kafka_listener_that_commits_the_position_skips_on_leaving(
    trials: Sequence[Trial],
) -> None:
    """When a consumer of kafka-python is closed in the middle of its batch, a rebalance
    listener that commits without naming offsets gives up the rest of the batch.
    """
    assert all(map(skips, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/commit-done-listener/consumer-leaves"],
)
def test_kafka_listener_that_commits_what_is_done_skips_nothing(
    trials: Sequence[Trial],
) -> None:
    """When a consumer of kafka-python is closed in the middle of its batch, a rebalance
    listener that commits the offsets of what is done skips nothing.
    """
    assert all(each.unprocessed == 0 for each in trials)


@claim(
    servers="redis",
    since="6.2",
    lab="delivery",
    cells=["redis/xack-after/consumer-leaves"],
)
def test_redis_consumer_that_leaves_in_mid_batch_leaves_it_to_be_claimed(
    trials: Sequence[Trial],
) -> None:
    """When a Redis consumer that acknowledges after the work ends in the middle of its
    batch, nothing is skipped, and who claims the batch does a part of it again.
    """
    assert all(map(repeats, trials))


@claim(
    servers="redis",
    since="5.0",
    lab="delivery",
    cells=["redis/noack/consumer-leaves"],
)
def test_redis_consumer_that_leaves_in_mid_batch_takes_it_along_with_noack(
    trials: Sequence[Trial],
) -> None:
    """When a Redis consumer that reads with `NOACK` ends in the middle of its batch, the
    rest of the batch is never processed.
    """
    assert all(map(skips, trials))


@claim(
    servers="kafka",
    since="0.9",
    lab="delivery",
    cells=["kafka/commit-after*/consumer-leaves"],
)
def test_kafka_consumer_that_leaves_in_mid_batch_has_it_done_again(
    trials: Sequence[Trial],
) -> None:
    """When a Kafka consumer that commits after the work closes in the middle of its
    batch, nothing is skipped, and a part of the batch is done again, under KIP-848, too.
    """
    assert all(map(repeats, trials))
