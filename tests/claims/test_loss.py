"""What is left after a fault under load, as the lab on loss has recorded it.

Each claim looks at every trial that is recorded of some cells: one that says otherwise
refutes it. To record them again takes `nox -s labs -- loss`.
"""

from collections.abc import Mapping, Sequence

from snippets.labs.loss import (
    DOWN_AFTER_MS,
    ELECTION_MS,
    PAUSE,
    REFUSES_S,
    UNDER_WAY_MS,
)
from snippets.labs.record import Cell, Trial
from snippets.labs.systems.kafka_outages import OUTAGE_S
from tests.ledger import claim

Cells = Mapping[str, Cell]
EVERYSEC_MS = 2000
SNAPSHOT_MS = 2 * 2000
# Clients find the new primary or leader before the old one is repaired.
MOST = 0.9


def lost_all(trial: Trial) -> bool:
    """Tell whether a trial lost everything that was acknowledged."""
    return 0 < trial.acknowledged <= trial.lost


def lost_nothing(trial: Trial) -> bool:
    """Tell whether a trial lost nothing, although there was something to lose."""
    return trial.acknowledged > 0 and trial.lost == 0


def never_acknowledged(trial: Trial) -> int:
    """Count the writes around the fault that were never acknowledged."""
    assert trial.time_line, "its time line is not recorded: run the cell again"
    return sum(map(int, trial.time_line.unacknowledged.split()))


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


SENTINELS = ["redis/sentinel/sigkill", "redis/sentinel-wait/sigkill"]


@claim(servers="redis", since="5.0", cells=SENTINELS)
def test_redis_sentinels_take_over_when_the_primary_is_silent_for_long(
    trials: Sequence[Trial],
) -> None:
    """When a Redis primary is killed, nothing is acknowledged for as long as
    `down-after-milliseconds` says, and for no more than seven seconds after.
    """
    least, most = DOWN_AFTER_MS / 1000, (DOWN_AFTER_MS + ELECTION_MS) / 1000
    assert all(least <= each.unavailable_s <= most for each in trials)


@claim(servers="redis", since="5.0", cells=SENTINELS)
def test_redis_writes_fail_while_sentinels_fail_over(trials: Sequence[Trial]) -> None:
    """What a client that repeats nothing writes to Redis while Sentinels fail over is
    never acknowledged.
    """
    assert all(never_acknowledged(each) for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/sentinel-wait/sigkill"])
def test_redis_wait_survives_a_failover_by_sentinels(trials: Sequence[Trial]) -> None:
    """When Sentinels promote one of two replicas, every entry is there that `WAIT 1` had
    confirmed.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="5.0", cells=["redis/sentinel-divided/partition/*"])
def test_redis_sentinels_leave_behind_what_the_old_primary_acknowledges(
    trials: Sequence[Trial],
) -> None:
    """While a partition hides a Redis primary from its Sentinels and replicas, it goes on
    acknowledging; nine in ten of these entries or more are lost when it is healed.
    """
    assert all(each.lost >= each.meanwhile * MOST > 0 for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/sentinel-divided-wait/partition/*"])
def test_redis_wait_survives_a_partition_from_sentinels(trials: Sequence[Trial]) -> None:
    """When Sentinels promote a replica in a partition, every entry is there that `WAIT 1`
    had confirmed.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="kafka", since="2.8", cells=["kafka/cluster-leader-acks-all/sigkill"])
def test_kafka_producer_sends_after_a_failover_what_it_held(
    trials: Sequence[Trial],
) -> None:
    """With `acks=all`, every record that a producer is given while a killed leader is
    replaced is acknowledged in the end: it holds them, and sends them to the new one.
    """
    assert not any(never_acknowledged(each) for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/leader-divided-acks-1/partition/*"])
def test_kafka_acks_one_loses_what_a_divided_leader_acknowledges(
    trials: Sequence[Trial],
) -> None:
    """A Kafka leader that is cut off from the others goes on acknowledging with `acks=1`;
    nine in ten of these records or more are lost when the partition ends.
    """
    assert all(each.lost >= each.meanwhile * MOST > 0 for each in trials)


@claim(servers="kafka", since="2.8", cells=["kafka/leader-divided-acks-all/partition/*"])
def test_kafka_acks_all_loses_nothing_when_the_leader_is_divided(
    trials: Sequence[Trial],
) -> None:
    """With `acks=all` and `min.insync.replicas=2`, a leader that is cut off from the
    others takes no acknowledged record with it.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="kafka", since="2.8", cells=["kafka/two-of-three-die-min-2/sigkill"])
def test_kafka_refuses_with_one_broker_of_three_in_sync(
    trials: Sequence[Trial],
) -> None:
    """With `acks=all` and `min.insync.replicas=2`, the last of three Kafka brokers
    acknowledges nothing that is sent after the others died, until one of them is back.
    """
    assert all(map(lost_nothing, trials))
    for each in trials:
        assert each.time_line, "its time line is not recorded: run the cell again"
        tried, heard = (
            list(map(int, counts.split()))
            for counts in (each.time_line.attempted, each.time_line.acknowledged)
        )
        # What is tried in the step in which the others die may be under way by then.
        under_way = each.time_line.before + 1
        outage = each.time_line.before + int(OUTAGE_S * 1000 / each.time_line.step_ms)
        assert sum(heard[:outage]) <= sum(tried[:under_way])


@claim(servers="redis", since="5.0", cells=["redis/aof-no-long/power-cut/ext4"])
def test_redis_refuses_an_append_only_file_with_a_damaged_end(
    trials: Sequence[Trial],
) -> None:
    """With `appendfsync no` on ext4, a power cut after most of a minute can leave an
    append-only file on which Redis does not start.
    """
    assert any("Bad file format" in each.refused_start for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/aof-no-long*/power-cut/ext4"])
def test_redis_appendfsync_no_keeps_what_the_kernel_has_written(
    trials: Sequence[Trial],
) -> None:
    """With `appendfsync no`, a power cut after most of a minute takes the entries that
    the kernel had not written out yet, and leaves the older ones.
    """
    assert all(0 < each.lost < each.acknowledged for each in trials)


@claim(
    servers="redis",
    since="8.4",
    cells=["redis/aof-no-long-corrupt-tail/power-cut/ext4"],
)
def test_redis_can_be_let_start_on_a_damaged_end(trials: Sequence[Trial]) -> None:
    """With `aof-load-corrupt-tail-max-size 4096`, Redis starts by itself on what a power
    cut on ext4 leaves of an append-only file under `appendfsync no`.
    """
    assert all(each.lost and not each.refused_start for each in trials)


@claim(servers="redis", since="5.0", cells=["redis/aof-always/disk-full/*"])
def test_redis_always_loses_nothing_on_a_full_disk(trials: Sequence[Trial]) -> None:
    """With `appendfsync always`, a disk that fills up takes no entry whose `XADD` was
    answered, even if Redis is killed then.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="5.0", cells=["redis/aof-everysec/disk-full/*"])
def test_redis_everysec_loses_the_write_that_met_the_full_disk(
    trials: Sequence[Trial],
) -> None:
    """With `appendfsync everysec`, Redis acknowledges what it can't write to a full disk
    any more, refuses the writes after it, and loses it when it is killed.
    """
    assert any(each.lost for each in trials)
    assert all(each.refused for each in trials)
    assert all(each.oldest_lost_ms <= EVERYSEC_MS for each in trials)


@claim(servers="kafka", since="0.8", cells=["kafka/default/disk-full/*"])
def test_kafka_loses_nothing_on_a_full_disk(trials: Sequence[Trial]) -> None:
    """A Kafka broker whose disk fills up loses no acknowledged record, and serves them
    all when there is room again.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="5.0", cells=["redis/replica-wait/disk-loss"])
def test_redis_wait_survives_a_lost_disk(trials: Sequence[Trial]) -> None:
    """What a replica has confirmed by `WAIT 1` survives the loss of the primary and its
    disk, if the replica is promoted.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="kafka", since="0.8", cells=["kafka/cluster-leader-acks-all/disk-loss"])
def test_kafka_acks_all_survives_a_lost_disk(trials: Sequence[Trial]) -> None:
    """What was acknowledged with `acks=all` by three brokers in sync survives the loss of
    the leader and its disk; the broker that comes back empty copies it.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="5.0", cells=["redis/aof-always/clock-back-*"])
def test_redis_keeps_its_order_when_the_clock_steps_back(
    trials: Sequence[Trial],
) -> None:
    """Redis that restarts with a clock an hour behind loses no entry, and goes on with
    IDs greater than all before.
    """
    assert all(map(lost_nothing, trials))
    assert all(each.reordered == each.duplicated == 0 for each in trials)


@claim(servers="kafka", since="0.8", cells=["kafka/cluster-leader-acks-1/pause-*"])
def test_kafka_paused_leader_acknowledges_with_acks_one_what_will_be_lost(
    trials: Sequence[Trial],
) -> None:
    """With `acks=1`, a Kafka leader that stands still for longer than its session, and
    then goes on, acknowledges what waited for it, though another broker leads by then:
    these records are lost.
    """
    assert all(each.lost > 0 and each.oldest_lost_ms <= UNDER_WAY_MS for each in trials)


@claim(servers="kafka", since="0.8", cells=["kafka/cluster-leader-acks-all/pause-*"])
def test_kafka_paused_leader_loses_nothing_with_acks_all(
    trials: Sequence[Trial],
) -> None:
    """With `acks=all`, no acknowledged record is lost when the leader stands still for
    longer than its session, and then goes on.
    """
    assert all(map(lost_nothing, trials))


@claim(servers="redis", since="5.0", cells=["redis/sentinel*/pause-*"])
def test_redis_sentinels_replace_a_primary_that_stands_still(
    trials: Sequence[Trial],
) -> None:
    """Sentinels replace a Redis primary that stands still, before it goes on, and a
    client that gives a reply up after three seconds loses no acknowledged entry.
    """
    assert all(map(lost_nothing, trials))
    assert all(each.meanwhile > 0 for each in trials)
    assert all(each.unavailable_s < PAUSE.seconds for each in trials)
