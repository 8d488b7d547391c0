"""Size a stream or a topic: from load, size and retention to memory, disk, and consumers.

Pure functions. What an entry costs comes from the lab on memory, as it is recorded in
`docs/data/memory.json`; everything else is an argument. `docs/data/sizing/vectors.json`
holds calls with their results, by which any other implementation can be checked.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from snippets.labs.memory.shapes import (
    AppendShape,
    CommitShape,
    EntryShape,
    IndexShape,
    PendingShape,
    ReadShape,
    RecordShape,
)

Constants = Mapping[str, Mapping[str, float]]


def _at_least(least: float, **given: float) -> None:
    """Refuse numbers that make no sense.

    Raises:
        ValueError: One is too small, or is no number.
    """
    for name, value in given.items():
        if not math.isfinite(value) or value < least:
            wanted = f"{least:g} or more"
            raise ValueError(f"{name} must be a number, {wanted}, and is {value}")


def _above_zero(**given: float) -> None:
    for name, value in given.items():
        if not math.isfinite(value) or value <= 0:
            raise ValueError(f"{name} must be a number above 0, and is {value}")


def _share(**given: float) -> None:
    for name, value in given.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, and is {value}")


def _whole(least: int, **given: int) -> None:
    for name, value in given.items():
        if value != int(value) or value < least:
            raise ValueError(
                f"{name} must be a whole number, {least} or more, and is {value}"
            )


@dataclass(frozen=True)
class Load:
    """What is appended.

    Attributes:
        per_second: Entries or records a second, at the peak that is to be sustained.
        value_bytes: The length of each value.
        fields: How many fields an entry has; Kafka has one value, of all their bytes.
        name_bytes: The length of a field's name, the same in all entries.

    Raises:
        ValueError: A number makes no sense.
    """

    per_second: float
    value_bytes: int
    fields: int = 1
    name_bytes: int = 5

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        _at_least(0, per_second=self.per_second)
        _whole(0, value_bytes=self.value_bytes)
        _whole(1, fields=self.fields, name_bytes=self.name_bytes)

    @property
    def entry(self) -> EntryShape:
        """The shape of an entry; all have the same fields."""
        return EntryShape(self.fields, self.name_bytes, self.value_bytes)

    @property
    def append(self) -> AppendShape:
        """The shape of the command that appends it."""
        return AppendShape(self.fields, self.name_bytes, self.value_bytes)


def redis_stream_bytes(constants: Constants, load: Load, retention_s: float) -> float:
    """Return the bytes of memory that the entries of a stream take on one node.

    Args:
        constants: What the lab has fitted; see `memory.record.constants`.
        load: What is appended.
        retention_s: How long entries are kept, in seconds.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, retention_s=retention_s)
    kept = load.per_second * retention_s
    return kept * load.entry.predict(constants["redis/entry"])


def redis_pending_bytes(constants: Constants, pending: float, groups: int) -> float:
    """Return the bytes of memory that pending entries take on one node.

    Args:
        constants: What the lab has fitted.
        pending: How many entries are delivered and not acknowledged, in each group.
        groups: How many groups have them.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, pending=pending)
    _whole(0, groups=groups)
    if not groups:
        return 0.0
    each = PendingShape(groups=groups).predict(constants["redis/pending"])
    return pending * groups * each


def redis_memory_to_buy_bytes(
    data_bytes: float,
    replicas: int,
    fragmentation: float = 1.2,
    fork_share: float = 0.2,
) -> float:
    """Return the bytes of memory to buy, on all nodes together.

    Args:
        data_bytes: Entries and pending entries, on one node.
        replicas: How many replicas follow the primary.
        fragmentation: Resident memory over used memory, 1 or more.
        fork_share: What a snapshot or a rewrite copies at most, as a part of the data.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, data_bytes=data_bytes, fork_share=fork_share)
    _at_least(1, fragmentation=fragmentation)
    _whole(0, replicas=replicas)
    return data_bytes * fragmentation * (1 + fork_share) * (1 + replicas)


def redis_log_bytes_per_s(
    constants: Constants, load: Load, groups: int, count: int, mode: str = "XACK"
) -> float:
    """Return the bytes a second that go to the append-only file, and to each replica.

    Args:
        constants: What the lab has fitted.
        load: What is appended.
        groups: How many groups read all of it.
        count: How many entries each read delivers, and each acknowledgement is of.
        mode: `XACK`, `XACKDEL`, or `NOACK`.

    Raises:
        ValueError: A number makes no sense.
    """
    _whole(0, groups=groups)
    _whole(1, count=count)
    if mode not in ("XACK", "XACKDEL", "NOACK"):
        raise ValueError(f"mode must be XACK, XACKDEL or NOACK, and is {mode!r}")
    append = load.append.predict(constants["redis/append-log"])
    read = ReadShape(count=count, mode=mode).predict(constants["redis/read-log"])
    return load.per_second * (append + groups * read)


def kafka_record_bytes(
    constants: Constants, load: Load, records_per_batch: int, ratio: float = 1.0
) -> float:
    """Return the bytes of a record on the disk of one replica, its indexes included.

    Args:
        constants: What the lab has fitted.
        load: What is produced.
        records_per_batch: How many records a batch has.
        ratio: Compressed bytes over bytes, above 0 and at most 1; 1 without compression.

    Raises:
        ValueError: A number makes no sense.
    """
    _whole(1, records_per_batch=records_per_batch)
    _share(ratio=ratio)
    value_bytes = load.fields * load.value_bytes
    shape = RecordShape(records_per_batch, value_bytes)
    record = shape.predict(constants["kafka/record"]) * ratio
    batch = max(1, round(record * records_per_batch))
    index = IndexShape(batch).predict(constants["kafka/index"])
    return record + index / records_per_batch


def kafka_disk_bytes(
    record_bytes: float,
    per_second: float,
    retention_s: float,
    replication: int,
    fill: float = 0.6,
) -> float:
    """Return the bytes of disk to buy, on all brokers together.

    Args:
        record_bytes: A record on the disk of one replica.
        per_second: Records a second.
        retention_s: How long records are kept, in seconds.
        replication: How many replicas there are, the leader included.
        fill: How full the disks may become, above 0 and at most 1.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(
        0, record_bytes=record_bytes, per_second=per_second, retention_s=retention_s
    )
    _whole(1, replication=replication)
    _share(fill=fill)
    return record_bytes * per_second * retention_s * replication / fill


def kafka_page_cache_bytes(bytes_per_s: float, buffered_s: float = 30.0) -> float:
    """Return the bytes of memory that a broker wants beside its heap.

    By Kafka's own rule of thumb, what is written in half a minute:
    https://kafka.apache.org/43/operations/hardware-and-os/. Consumers that are further
    behind read from disk.

    Args:
        bytes_per_s: What the broker writes, as leader and as follower.
        buffered_s: For how many seconds of it there is to be room.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, bytes_per_s=bytes_per_s, buffered_s=buffered_s)
    return bytes_per_s * buffered_s


def kafka_commit_bytes_per_s(
    constants: Constants, groups: int, partitions: int, interval_s: float
) -> float:
    """Return by how many bytes a second `__consumer_offsets` grows until it is compacted.

    Args:
        constants: What the lab has fitted.
        groups: How many groups commit.
        partitions: Of how many partitions each commits at once.
        interval_s: How many seconds lie between two commits of a group.

    Raises:
        ValueError: A number makes no sense.
    """
    _whole(0, groups=groups)
    _whole(1, partitions=partitions)
    _above_zero(interval_s=interval_s)
    return (
        groups * CommitShape(partitions).predict(constants["kafka/commit"]) / interval_s
    )


def partitions(
    bytes_per_s: float,
    producer_bytes_per_s: float,
    consumer_bytes_per_s: float,
    headroom: float = 1.5,
) -> int:
    """Return how many partitions, or streams, a load needs.

    Args:
        bytes_per_s: What is to be carried.
        producer_bytes_per_s: What one partition takes in, as you have measured.
        consumer_bytes_per_s: What one consumer works off, as you have measured; usually
            the size of a record over the time that its processing takes.
        headroom: How much more is to be possible, 1 or more.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, bytes_per_s=bytes_per_s)
    _above_zero(
        producer_bytes_per_s=producer_bytes_per_s,
        consumer_bytes_per_s=consumer_bytes_per_s,
    )
    _at_least(1, headroom=headroom)
    slowest = min(producer_bytes_per_s, consumer_bytes_per_s)
    return max(1, math.ceil(bytes_per_s / slowest * headroom))


def consumers(
    per_second: float, processing_s: float, concurrency: int = 1, busy: float = 0.7
) -> int:
    """Return how many consumers keep up, by Little's law.

    Args:
        per_second: Entries a second.
        processing_s: How many seconds one entry takes.
        concurrency: How many a consumer works on at once.
        busy: The part of the time for which a consumer may be busy.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, per_second=per_second, processing_s=processing_s)
    _whole(1, concurrency=concurrency)
    _share(busy=busy)
    return max(1, math.ceil(per_second * processing_s / (busy * concurrency)))


def in_flight(per_second: float, processing_s: float) -> float:
    """Return how many entries are delivered and not acknowledged, by Little's law.

    Args:
        per_second: Entries a second.
        processing_s: How many seconds lie between delivery and acknowledgement.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, per_second=per_second, processing_s=processing_s)
    return per_second * processing_s


def redis_egress_bytes_per_s(
    sent_bytes_per_s: float, log_bytes_per_s: float, groups: int, replicas: int
) -> float:
    """Return the bytes a second that leave the primary.

    Args:
        sent_bytes_per_s: What is appended, as consumers get it.
        log_bytes_per_s: What each replica gets; see `redis_log_bytes_per_s`.
        groups: How many groups read all of it.
        replicas: How many replicas follow the primary.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, sent_bytes_per_s=sent_bytes_per_s, log_bytes_per_s=log_bytes_per_s)
    _whole(0, groups=groups, replicas=replicas)
    return sent_bytes_per_s * groups + log_bytes_per_s * replicas


def kafka_egress_bytes_per_s(bytes_per_s: float, groups: int, replication: int) -> float:
    """Return the bytes a second that leave the leaders, all brokers together.

    Args:
        bytes_per_s: What is produced, compressed: batches travel as they are stored.
        groups: How many groups read all of it.
        replication: How many replicas there are, the leader included.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, bytes_per_s=bytes_per_s)
    _whole(0, groups=groups)
    _whole(1, replication=replication)
    return bytes_per_s * (groups + replication - 1)


def catch_up_s(outage_s: float, per_second: float, capacity_per_s: float) -> float:
    """Return how many seconds consumers need after an outage until nothing waits.

    Args:
        outage_s: How long nobody consumed.
        per_second: Entries a second, during the outage and after it.
        capacity_per_s: Entries a second that all consumers together can work off.

    Raises:
        ValueError: A number makes no sense, or consumers never catch up.
    """
    _at_least(0, outage_s=outage_s, per_second=per_second, capacity_per_s=capacity_per_s)
    if capacity_per_s <= per_second:
        raise ValueError(
            f"consumers never catch up: {capacity_per_s:g} a second can be worked off, "
            f"and {per_second:g} a second come"
        )
    return outage_s * per_second / (capacity_per_s - per_second)


def longest_backlog(outage_s: float, per_second: float) -> float:
    """Return how many entries wait at most after an outage, if consumers then catch up.

    A bound by length must be above it, and a bound by time above the outage itself: the
    entry that has waited for longest came when the outage began, and is read first.

    Args:
        outage_s: How long nobody consumed.
        per_second: Entries a second that come.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, outage_s=outage_s, per_second=per_second)
    return outage_s * per_second


def overflow_s(limit: float, backlog: float, per_second: float, drained: float) -> float:
    """Return in how many seconds a backlog reaches its limit; infinite if it never does.

    Args:
        limit: How many entries there is room for.
        backlog: How many are waiting now.
        per_second: Entries a second that come.
        drained: Entries a second that are worked off.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, limit=limit, backlog=backlog, per_second=per_second, drained=drained)
    if backlog >= limit:
        return 0.0
    if per_second <= drained:
        return math.inf
    return (limit - backlog) / (per_second - drained)


def lost_at_most(per_second: float, window_s: float) -> float:
    """Return how many acknowledged entries a fault takes at most.

    Args:
        per_second: Entries a second that are acknowledged.
        window_s: How old the oldest that is at risk may be: 2 for `everysec` in a power
            cut, the replication lag for a failover of Redis or `acks=1`, 0 for `always`,
            and for `acks=all` where one broker fails. See the lab on loss.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(0, per_second=per_second, window_s=window_s)
    return per_second * window_s


def break_even_s(
    redis_fixed: float,
    redis_per_s: float,
    kafka_fixed: float,
    kafka_per_s: float,
) -> float:
    """Return the retention in seconds from which on Kafka is cheaper; infinite if never.

    Memory and disk grow with the retention, and what runs anyway doesn't.

    Args:
        redis_fixed: What Redis costs a month without any entry.
        redis_per_s: What a second more of retention costs a month in Redis: the bytes to
            buy for it, times the price of a byte of memory.
        kafka_fixed: What Kafka costs a month without any record.
        kafka_per_s: What a second more of retention costs a month in Kafka.

    Raises:
        ValueError: A number makes no sense.
    """
    _at_least(
        0,
        redis_fixed=redis_fixed,
        redis_per_s=redis_per_s,
        kafka_fixed=kafka_fixed,
        kafka_per_s=kafka_per_s,
    )
    if kafka_per_s >= redis_per_s:
        same = kafka_per_s == redis_per_s
        return 0.0 if same and kafka_fixed <= redis_fixed else math.inf
    return max(0.0, (kafka_fixed - redis_fixed) / (redis_per_s - kafka_per_s))
