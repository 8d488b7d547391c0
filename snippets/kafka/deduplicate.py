"""Handle an event once although it comes twice: keep its id with its effect.

Example:
    ```py
    import sqlite3

    from kafka import KafkaConsumer, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.deduplicate import deduplicate

    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE sold (sku TEXT)")
    with (
        temporary_topic() as orders,
        KafkaProducer(**settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
    ):
        for _ in range(2):
            producer.send(orders, b"tea", key=b"order-7").get()
        for _ in range(2):
            record = next(consumer)
            args = (consumer, record, record.key.decode(), database)
            sell = "INSERT INTO sold VALUES ('tea')"
            print(deduplicate(*args, lambda db: db.execute(sell)))
            #> True
            #> False
    print(database.execute("SELECT count(*) FROM sold").fetchone())
    #> (1,)
    database.close()
    ```
"""

# --8<-- [start:imports]
import sqlite3
from collections.abc import Callable
from typing import Any

from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

# --8<-- [end:imports]
# isort: split
import json
from contextlib import closing

from kafka import KafkaProducer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:deduplicate]
def deduplicate(
    consumer: KafkaConsumer,
    record: Any,
    event_id: str,
    database: sqlite3.Connection,
    effect: Callable[[sqlite3.Connection], object],
) -> bool:
    """Apply an event's effect unless it was applied already, and commit the record.

    Effect and id go into one transaction of the database, where the effect is; the commit
    in Kafka comes after it. A crash between the two brings the record again, and the id
    tells that it is done.

    Args:
        consumer: The consumer that the record is from; it doesn't commit by itself.
        record: What `poll` returned.
        event_id: What the producer named the event: the same in every copy of it. The
            offset won't do, since a producer that sends again makes a new record.
        database: Where the effect goes, and the ids: one table for one group.
        effect: Writes the effect; it must leave `commit` and `rollback` alone.

    Returns:
        Whether the effect was applied now.

    Raises:
        sqlite3.IntegrityError: The event has no id; nothing is done.
        kafka.errors.CommitFailedError: The group has given the partition to another
            consumer meanwhile. The effect is applied, and won't be again.
        Exception: What `effect` or the database raises. Nothing is done, and the record
            comes again at the next `poll`.

    Source:
        https://docs.python.org/3/library/sqlite3.html#how-to-use-the-connection-context-manager
    """
    partition = TopicPartition(record.topic, record.partition)
    try:
        with database:
            columns = "id TEXT PRIMARY KEY CHECK (id <> '')"
            database.execute(f"CREATE TABLE IF NOT EXISTS seen ({columns})")
            insert = "INSERT INTO seen VALUES (?) ON CONFLICT DO NOTHING"
            new = database.execute(insert, (event_id,)).rowcount == 1
            if new:
                effect(database)
    except Exception:
        consumer.seek(partition, record.offset)
        raise
    consumer.commit({partition: OffsetAndMetadata(record.offset + 1, "", -1)})
    return new


# --8<-- [end:deduplicate]


def demo() -> None:
    """Let a producer send an order twice, and show what the consumer makes of it."""
    group = {
        "group_id": "billing",
        "auto_offset_reset": "earliest",
        "enable_auto_commit": False,
    }
    with (
        temporary_topic() as orders,
        closing(sqlite3.connect(":memory:")) as database,
        KafkaProducer(**settings()) as producer,
        KafkaConsumer(orders, **group, **settings()) as consumer,
    ):
        database.execute("CREATE TABLE sold (quantity INTEGER)")
        for number in (7, 7, 8):
            event = {"id": f"order-{number}", "quantity": "2"}
            producer.send(orders, json.dumps(event).encode())
        for _ in range(3):
            record = next(consumer)
            event = json.loads(record.value)

            def sell(db: sqlite3.Connection, quantity: str = event["quantity"]) -> None:
                db.execute("INSERT INTO sold VALUES (?)", (int(quantity),))

            applied = deduplicate(consumer, record, event["id"], database, sell)
            what = "applied" if applied else "seen before"
            print(f"offset {record.offset} {event['id']}: {what}")
        (sold,) = database.execute("SELECT sum(quantity) FROM sold").fetchone()
        print(f"sold {sold}")
        print(f"committed offset {consumer.committed(TopicPartition(orders, 0))}")


if __name__ == "__main__":
    demo()
