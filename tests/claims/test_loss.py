"""What is left after a fault under load, as the lab on loss has recorded it.

Each claim looks at every trial that is recorded of some cells: one that says otherwise
refutes it. To record them again takes `nox -s labs -- loss`.
"""

from collections.abc import Mapping, Sequence

from snippets.labs.loss import REFUSES_S, UNDER_WAY_MS
from snippets.labs.record import Cell, Trial
from snippets.labs.systems.kafka_outages import OUTAGE_S
from tests.ledger import claim

Cells = Mapping[str, Cell]
EVERYSEC_MS = 2000
SNAPSHOT_MS = 2 * 2000


def lost_all(trial: Trial) -> bool:
    """Tell whether a trial lost everything that was acknowledged."""
    return 0 < trial.acknowledged <= trial.lost


def lost_nothing(trial: Trial) -> bool:
    """Tell whether a trial lost nothing, although there was something to lose."""
    return trial.acknowledged > 0 and trial.lost == 0


@claim(servers="redis", since="5.0", cells=["redis/aof-always/power-cut/*"])
def test_redis_always_loses_nothing_in_a_power_cut(trials: Sequence[Trial]) -> None:
    """With `appendfsync always`, a power cut takes no entry whose `XADD` was answered."""
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="5.0", cells=["redis/aof-always/power-cut/*"])
def test_redis_always_keeps_the_group_in_a_power_cut(trials: Sequence[Trial]) -> None:
    """With `appendfsync always`, the consumer group survives a power cut where it was: no
    entry that it had acknowledged is delivered again.
    """
    assert {each.group for each in trials} == {"kept"}
    assert sum(each.redelivered for each in trials) == 0


@claim(servers="redis", since="5.0", cells=["redis/aof-everysec/power-cut/*"])
def test_redis_everysec_loses_at_most_two_seconds_in_a_power_cut(cells: Cells) -> None:
    """With `appendfsync everysec`, a power cut takes acknowledged entries, and none that
    was acknowledged more than two seconds before.
    """
    for cell in cells.values():
        assert any(each.lost for each in cell.trials)
        assert max(each.oldest_lost_ms for each in cell.trials) <= EVERYSEC_MS


@claim(servers="redis", since="5.0", cells=["redis/aof-everysec/power-cut/*"])
def test_redis_everysec_sets_the_group_back_in_a_power_cut(
    trials: Sequence[Trial],
) -> None:
    """With `appendfsync everysec`, a power cut sets a group back with its stream:
    entries that it had acknowledged can be delivered again.
    """
    assert {each.group for each in trials} <= {"kept", "set back"}
    assert any(each.redelivered for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/aof-everysec/power-cut/*"])
def test_redis_everysec_leaves_a_beginning_in_order(trials: Sequence[Trial]) -> None:
    """What a power cut leaves of a stream under `appendfsync everysec` is in order, each
    entry once.
    """
    assert all(each.duplicated == each.reordered == 0 for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/aof-no/power-cut/*"])
def test_redis_appendfsync_no_loses_the_last_seconds_in_a_power_cut(
    trials: Sequence[Trial],
) -> None:
    """With `appendfsync no`, a power cut within five seconds of the first `XADD` takes
    every acknowledged entry: the kernel had written none of them to disk.
    """
    assert all(lost_all(each) and each.load_s <= 5 for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/aof-no/sigkill"])
def test_redis_appendfsync_no_loses_nothing_when_the_process_is_killed(
    trials: Sequence[Trial],
) -> None:
    """Even with `appendfsync no`, killing the Redis process loses no acknowledged
    entry.
    """
    assert all(map(lost_nothing, trials))


@claim(
    servers="redis",
    since="5.0",
    cells=[
        "redis/aof-no/sigterm",
        "redis/aof-everysec/sigterm",
        "redis/aof-always/sigterm",
    ],
)
def test_redis_append_only_file_is_whole_after_a_shutdown(
    trials: Sequence[Trial],
) -> None:
    """With an append-only file, a Redis that is asked to end (`SIGTERM`) loses no
    acknowledged entry, whatever `appendfsync` says.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="7.2", cells=["redis/aof-everysec-waitaof/power-cut/*"])
def test_redis_waitaof_survives_a_power_cut(trials: Sequence[Trial]) -> None:
    """Under `appendfsync everysec`, a power cut takes no entry that `WAITAOF 1 0` has
    confirmed.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="7.2", cells=["redis/aof-everysec-waitaof/*"])
def test_redis_waitaof_confirms_once_a_second(trials: Sequence[Trial]) -> None:
    """Under `appendfsync everysec`, a client that sends `WAITAOF` after each `XADD` has
    about one entry acknowledged a second.
    """
    assert all(each.acknowledged <= each.load_s + 2 for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/rdb/power-cut/*"])
def test_redis_snapshots_lose_two_intervals_at_most_in_a_power_cut(
    trials: Sequence[Trial],
) -> None:
    """With a snapshot every two seconds (`save 2 1`), a power cut takes acknowledged
    entries, and none that was acknowledged more than two such intervals before.
    """
    assert all(0 < each.lost < each.acknowledged for each in trials)
    assert max(each.oldest_lost_ms for each in trials) <= SNAPSHOT_MS


@claim(servers="redis", since="5.0", cells=["redis/none/*"])
def test_redis_without_persistence_loses_the_group_too(trials: Sequence[Trial]) -> None:
    """Without persistence, a Redis that ends in any way has lost its consumer groups with
    the entries.
    """
    assert {each.group for each in trials} == {"gone"}
    assert all(map(lost_all, trials))


@claim(servers="redis", since="5.0", cells=["redis/aof-always/*"])
def test_redis_keeps_entries_whose_writer_never_heard(trials: Sequence[Trial]) -> None:
    """A Redis that ends under load can have kept an entry whose `XADD` it never answered:
    to append it again stores it twice.
    """
    assert any(each.unacknowledged for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/replica-wait/*"])
def test_redis_wait_survives_the_loss_of_the_primary(trials: Sequence[Trial]) -> None:
    """When the one replica takes over from a primary that was killed, lost power or was
    cut off, every entry is there that `WAIT 1` had confirmed.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="kafka", since="2.8", cells=["kafka/default/power-cut/*"])
def test_kafka_default_broker_loses_the_last_seconds_in_a_power_cut(
    trials: Sequence[Trial],
) -> None:
    """A single Kafka broker with default settings that loses power within five seconds of
    the first record loses every acknowledged record, even with `acks=all`.
    """
    assert all(lost_all(each) and each.load_s <= 5 for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/default/power-cut/*"])
def test_kafka_default_broker_loses_offsets_in_a_power_cut(
    trials: Sequence[Trial],
) -> None:
    """In a power cut, a single Kafka broker with default settings loses the offsets that
    a group has committed in the last seconds.
    """
    assert {each.group for each in trials} == {"gone"}


@claim(servers="kafka", since="2.8", cells=["kafka/cluster/power-cut/*"])
def test_kafka_cluster_loses_all_when_every_broker_loses_power(
    trials: Sequence[Trial],
) -> None:
    """When all three brokers lose power at once, within five seconds of the first record,
    Kafka with default flushing loses every record that `acks=all` with
    `min.insync.replicas=2` had acknowledged.
    """
    assert all(lost_all(each) and each.load_s <= 5 for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/cluster-flush-broker/power-cut/*"])
def test_kafka_cluster_that_flushes_loses_nothing_when_all_lose_power(
    trials: Sequence[Trial],
) -> None:
    """With `log.flush.interval.messages=1` on every broker, a Kafka cluster that loses
    power as a whole loses no acknowledged record and no committed offset.
    """
    assert all(map(lost_nothing, trials))
    assert {each.group for each in trials} == {"kept"}


@claim(servers="kafka", since="2.8", cells=["kafka/flush-broker/power-cut/*"])
def test_kafka_flush_on_the_broker_survives_a_power_cut(trials: Sequence[Trial]) -> None:
    """With `log.flush.interval.messages=1` on the broker, a power cut takes no
    acknowledged record, and the group goes on where it was.
    """
    assert all(map(lost_nothing, trials))
    assert {each.group for each in trials} == {"kept"}
    assert sum(each.redelivered for each in trials) == 0


@claim(servers="kafka", since="2.8", cells=["kafka/flush-topic/power-cut/*"])
def test_kafka_flush_on_the_topic_survives_a_power_cut(trials: Sequence[Trial]) -> None:
    """With `flush.messages=1` on the topic, a power cut takes no acknowledged record."""
    assert all(map(lost_nothing, trials))


@claim(servers="kafka", since="2.8", cells=["kafka/flush-topic/power-cut/*"])
def test_kafka_flush_on_the_topic_loses_the_committed_offsets(
    trials: Sequence[Trial],
) -> None:
    """With `flush.messages=1` on the topic only, a power cut takes the offsets that a
    group had committed in the last seconds, and it reads those records again.
    """
    assert all(each.group == "gone" and each.redelivered for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/default/sigterm"])
def test_kafka_broker_that_is_asked_to_end_loses_nothing(
    trials: Sequence[Trial],
) -> None:
    """A single Kafka broker that is asked to end (`SIGTERM`) loses no acknowledged record
    and no committed offset.
    """
    assert all(map(lost_nothing, trials))
    assert {each.group for each in trials} == {"kept"}


@claim(servers="kafka", since="2.8", cells=["kafka/cluster-leader-acks-all/sigkill"])
def test_kafka_idempotent_producer_writes_once_and_in_order_through_a_failover(
    trials: Sequence[Trial],
) -> None:
    """When the leader's process is killed under load, records of an idempotent producer
    with `acks=all` are stored once, in order, and none that was acknowledged is lost.
    """
    assert all(map(lost_nothing, trials))
    assert all(each.duplicated == each.reordered == 0 for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/cluster-leader-acks-1/sigkill"])
def test_kafka_acks_one_reorders_records_in_a_failover(trials: Sequence[Trial]) -> None:
    """With `acks=1`, and so without idempotence, records that a producer sends through
    the death of a leader can be stored out of order.
    """
    assert any(each.reordered for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/cluster-leader-acks-0/sigkill"])
def test_kafka_acks_zero_loses_records_in_a_failover(trials: Sequence[Trial]) -> None:
    """With `acks=0`, records that the producer counts as sent are lost when the leader's
    process is killed.
    """
    assert all(0 < each.lost < each.acknowledged for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/none-restarted-wait/sigkill"])
def test_redis_wait_does_not_help_a_primary_that_restarts_empty(
    trials: Sequence[Trial],
) -> None:
    """A Redis primary without persistence that is restarted at once empties its replica,
    and with it every entry that `WAIT 1` had confirmed.
    """
    assert all(map(lost_all, trials))


@claim(servers="redis", since="5.0", cells=["redis/replica-far/machine-loss/*"])
def test_redis_failover_loses_what_was_under_way(trials: Sequence[Trial]) -> None:
    """When a Redis primary is gone with its link of 20 ms, the replica that takes over
    lacks acknowledged entries, none of them acknowledged half a second before.
    """
    assert any(each.lost for each in trials)
    assert all(each.oldest_lost_ms <= UNDER_WAY_MS for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/replica-far-wait/*"])
def test_redis_wait_survives_a_failover_over_a_slow_link(
    trials: Sequence[Trial],
) -> None:
    """What `WAIT 1` has confirmed over a link of 20 ms is there when that replica takes
    over, after the loss of the primary and after a partition.
    """
    assert all(map(lost_nothing, trials))


@claim(
    servers="redis",
    since="5.0",
    cells=["redis/replica-far/partition/*", "redis/replica/partition/*"],
)
def test_redis_partition_loses_all_that_the_old_primary_goes_on_to_acknowledge(
    trials: Sequence[Trial],
) -> None:
    """While a partition hides a Redis primary from the replica that is promoted, the old
    primary goes on acknowledging; all of that is lost when it follows the new one.
    """
    assert all(each.lost >= each.meanwhile > 0 for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/replica-*min-1/partition/*"])
def test_redis_min_replicas_bounds_what_a_partition_loses(cells: Cells) -> None:
    """With `min-replicas-to-write 1` and `min-replicas-max-lag 2` a partition still loses
    acknowledged entries, of no more than three and a half seconds: then it refuses.
    """
    for cell in cells.values():
        assert all(0 < each.lost <= cell.rate * REFUSES_S for each in cell.trials)


@claim(servers="kafka", since="2.8", cells=["kafka/last-in-sync/sigkill"])
def test_kafka_waits_for_the_last_broker_in_sync(trials: Sequence[Trial]) -> None:
    """When the last Kafka broker in sync is killed, no other leads: the partition is out
    of service until that one is back, and no acknowledged record is lost.
    """
    assert all(map(lost_nothing, trials))
    assert all(each.unavailable_s >= OUTAGE_S for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/last-in-sync-unclean/sigkill"])
def test_kafka_unclean_election_loses_what_the_new_leader_had_missed(
    trials: Sequence[Trial],
) -> None:
    """With `unclean.leader.election.enable`, a broker that was out of sync leads when the
    last one in sync is killed; every record that it had missed is lost.
    """
    assert all(map(lost_all, trials))


@claim(servers="kafka", since="2.8", cells=["kafka/two-of-three-die-min-1/sigkill"])
def test_kafka_goes_on_with_one_broker_of_three(trials: Sequence[Trial]) -> None:
    """With three replicas, `min.insync.replicas=1` and a controller of its own, the last
    of three Kafka brokers acknowledges on, and nothing is lost.
    """
    assert all(map(lost_nothing, trials))
    assert all(each.meanwhile > 0 for each in trials)
