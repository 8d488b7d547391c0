"""What an entry costs in bytes, as the lab on memory has recorded it.

To record it again takes `nox -s labs -- memory`.
"""

from collections.abc import Mapping

from snippets.labs.memory.lab import CODECS, WITHIN, at
from snippets.labs.memory.record import Quantity
from snippets.labs.memory.shapes import RecordShape
from tests.ledger import claim


@claim(servers="redis", since="8.10", cells=["redis/entry"], lab="memory")
def test_redis_entry_takes_less_than_twenty_bytes_beyond_its_value(
    quantity: Quantity,
) -> None:
    """An entry with one field of up to 200 bytes takes less than 20 bytes of memory
    beyond its value.
    """
    installed = {"node_max_entries": 100, "node_max_bytes": 4096, "apart_ms": 1}
    for size in (1, 10, 30, 60, 100, 200):
        took = at(quantity, fields=1, name_bytes=5, value_bytes=size, **installed)
        assert size < took < size + 20


@claim(servers="redis", since="8.10", cells=["redis/entry"], lab="memory")
def test_redis_keeps_field_names_once_that_all_entries_share(
    quantity: Quantity,
) -> None:
    """Field names that all entries of a stream share take hardly any memory; names that
    differ from entry to entry are stored with each.
    """
    for fields in (4, 8):
        shape = {"fields": fields, "name_bytes": 8, "value_bytes": 20}
        same = at(quantity, **shape, same_names=True)
        unlike = at(quantity, **shape, same_names=False)
        assert same < fields * (20 + 8)
        assert unlike - same >= fields * 8


@claim(servers="redis", since="8.10", cells=["redis/entry"], lab="memory")
def test_redis_takes_memory_in_steps(quantity: Quantity) -> None:
    """Memory is taken in steps of the allocator: entries of 500 bytes take over 15 % more
    than their values, entries of 1,000 bytes less than 5 % more.
    """
    middle, large = (at(quantity, fields=1, value_bytes=size) for size in (500, 1000))
    assert middle > 500 * 1.15
    assert large < 1000 * 1.05


@claim(servers="redis", since="8.10", cells=["redis/pending"], lab="memory")
def test_redis_pending_entry_takes_more_memory_than_a_small_entry(
    quantity: Quantity,
) -> None:
    """An entry that is delivered and not acknowledged takes more than 150 bytes in each
    group for which it is pending, if entries come in milliseconds of their own.
    """
    apart = [each for each in quantity.points if getattr(each.shape, "apart_ms", 0) > 0]
    assert all(each.measured > 150 for each in apart)


@claim(servers="redis", since="8.10", cells=["redis/group"], lab="memory")
def test_redis_group_takes_hardly_any_memory(quantity: Quantity) -> None:
    """A consumer group takes less than 250 bytes without consumers, and a consumer with a
    name of 8 bytes less than 150.
    """
    none = at(quantity, consumers=0, name_bytes=8)
    assert none < 250
    assert at(quantity, consumers=16, name_bytes=8) - none < 16 * 150


@claim(servers="redis", since="8.10", cells=["redis/read-log"], lab="memory")
def test_redis_reading_one_by_one_writes_more_than_three_hundred_bytes(
    quantity: Quantity,
) -> None:
    """To read an entry through a group with `COUNT 1`, and to acknowledge it, writes more
    than 300 bytes to the append-only file and to each replica, whatever is in it.
    """
    assert at(quantity, count=1, mode="XACK") > 300


@claim(servers="redis", since="8.10", cells=["redis/read-log"], lab="memory")
def test_redis_reading_a_hundred_at_once_still_writes_for_each(
    quantity: Quantity,
) -> None:
    """With `COUNT 100` and one `XACK` for all, reading through a group still writes more
    than 200 bytes an entry, as each becomes an `XCLAIM`.
    """
    assert 200 < at(quantity, count=100, mode="XACK") < at(quantity, count=1, mode="XACK")


@claim(servers="redis", since="8.10", cells=["redis/read-log"], lab="memory")
def test_redis_noack_writes_once_a_read(quantity: Quantity) -> None:
    """With `NOACK`, a group read writes one command, however many entries it delivers:
    with `COUNT 100`, less than 2 bytes an entry.
    """
    assert at(quantity, count=100, mode="NOACK") < 2
    alone = at(quantity, count=1, mode="NOACK")
    assert abs(at(quantity, count=10, mode="NOACK") - alone / 10) < 1


@claim(servers="redis", since="8.10", cells=["redis/read-log"], lab="memory")
def test_redis_deleting_with_the_acknowledgement_writes_no_more(
    quantity: Quantity,
) -> None:
    """`XACKDEL` of a hundred entries writes as many bytes as `XACK`, give or take one an
    entry.
    """
    xack, xackdel = (at(quantity, count=100, mode=mode) for mode in ("XACK", "XACKDEL"))
    assert abs(xackdel - xack) < 1


@claim(servers="redis", since="8.10", cells=["redis/snapshot"], lab="memory")
def test_redis_acknowledging_during_a_snapshot_copies_pages(quantity: Quantity) -> None:
    """While a snapshot is written, an acknowledgement here and there in a long pending
    list copies over 500 bytes of memory, and an append less than half of that.
    """
    for entries in (1_000, 5_000):
        acknowledge = at(quantity, work="acknowledge", entries=entries)
        assert acknowledge > 500
        assert at(quantity, work="append", entries=entries) < acknowledge / 2


@claim(servers="redis", since="8.10", cells=["redis/entry"], lab="memory")
def test_redis_memory_of_an_entry_is_predicted(quantity: Quantity) -> None:
    """What an entry takes in memory is predicted within 10 % by the site's model, for
    shapes that the model was not fitted to.
    """
    assert any(each.held_out for each in quantity.points)
    assert quantity.worst(held_out=True) <= WITHIN


@claim(servers="kafka", since="4.3", cells=["kafka/record"], lab="memory")
def test_kafka_record_alone_in_its_batch_takes_seventy_bytes_more(
    quantity: Quantity,
) -> None:
    """A record of 100 bytes that is alone in its batch takes 170 bytes on disk, and one
    among a hundred takes 110.
    """
    alone, among = (
        at(quantity, records=count, value_bytes=100, key_bytes=0) for count in (1, 100)
    )
    assert (round(alone), round(among)) == (170, 110)


@claim(
    servers="kafka",
    since="4.3",
    cells=[f"kafka/{codec}" for codec in CODECS],
    lab="memory",
)
def test_kafka_compression_needs_batches(quantities: Mapping[str, Quantity]) -> None:
    """Orders of 300 bytes as JSON shrink to less than half in batches of a hundred, with
    each codec; alone in a batch they keep over 60 % of their size.
    """
    for quantity in quantities.values():
        among, alone = (
            at(quantity, records=count, value_bytes=300)
            / RecordShape(count, 300).predict({"batch": 61, "record": 3})
            for count in (100, 1)
        )
        assert among < 0.5
        assert alone > 0.6


@claim(servers="kafka", since="4.3", cells=["kafka/index"], lab="memory")
def test_kafka_indexes_take_less_than_one_percent(quantity: Quantity) -> None:
    """The indexes of a closed segment take less than 1 % of its log."""
    assert all(
        each.measured < getattr(each.shape, "batch_bytes", 0) / 100
        for each in quantity.points
    )


@claim(servers="kafka", since="4.3", cells=["kafka/commit"], lab="memory")
def test_kafka_offset_commit_adds_to_its_topic(quantity: Quantity) -> None:
    """Each offset commit adds more than 100 bytes to `__consumer_offsets`, and each
    further partition in it less than 100.
    """
    one, four = (
        at(quantity, partitions=count, group_bytes=7, topic_bytes=6) for count in (1, 4)
    )
    assert one > 100
    assert (four - one) / 3 < 100
