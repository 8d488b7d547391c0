"""Append what a database has committed: no event is lost, whoever crashes in between.

Example:
    ```py
    import sqlite3

    from kafka import KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.publish_from_outbox import (
        create_outbox,
        publish_from_outbox,
        put,
    )

    database = sqlite3.connect(":memory:")
    create_outbox(database)
    database.execute("CREATE TABLE orders (name TEXT, sku TEXT)")
    with database:
        database.execute("INSERT INTO orders VALUES ('order-7', 'tea')")
        put(database, "order-7", {"sku": "tea"})
    with temporary_topic() as orders, KafkaProducer(**settings()) as producer:
        print(publish_from_outbox(producer, orders, database))
        #> 1
        print(publish_from_outbox(producer, orders, database))
        #> 0
    database.close()
    ```
"""

# --8<-- [start:imports]
import json
import sqlite3
from collections.abc import Mapping
from uuid import uuid4

from kafka import KafkaProducer

# --8<-- [end:imports]
# isort: split
from contextlib import closing
from itertools import islice

from kafka import KafkaConsumer

from snippets.kafka import settings, temporary_topic


# --8<-- [start:create_outbox]
def create_outbox(database: sqlite3.Connection) -> None:
    """Create the table of events that are to be published, unless it is there.

    Args:
        database: The database of the business rows.

    Source:
        https://www.sqlite.org/autoinc.html
    """
    columns = (
        "position INTEGER PRIMARY KEY AUTOINCREMENT, event_id TEXT NOT NULL UNIQUE, "
        "key TEXT NOT NULL, event TEXT NOT NULL, published TEXT"
    )
    with database:
        database.execute(f"CREATE TABLE IF NOT EXISTS outbox ({columns})")
        database.execute(
            "CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (position) "
            "WHERE published IS NULL"
        )


# --8<-- [end:create_outbox]


# --8<-- [start:put]
def put(database: sqlite3.Connection, key: str, event: Mapping[str, str]) -> str:
    """Put an event into the outbox, in the transaction that writes the business row.

    It commits nothing: row and event are there together, or neither is.

    Args:
        database: The connection whose transaction is under way.
        key: What the event is about, such as the order's number.
        event: Field names and values, at least one.

    Returns:
        The event's ID, by which a consumer knows a second copy of it.

    Raises:
        ValueError: The event has no fields; nothing is written.

    Source:
        https://docs.python.org/3/library/sqlite3.html#transaction-control
    """
    if not event:
        raise ValueError("an event needs at least one field")
    event_id = uuid4().hex
    database.execute(
        "INSERT INTO outbox (event_id, key, event) VALUES (?, ?, ?)",
        (event_id, key, json.dumps(dict(event))),
    )
    return event_id


# --8<-- [end:put]


# --8<-- [start:publish_from_outbox]
def publish_from_outbox(
    producer: KafkaProducer, topic: str, database: sqlite3.Connection, count: int = 100
) -> int:
    """Append the events that wait in the outbox, in their order, and mark each after it.

    A crash between the two appends the event again at the next call. The broker doesn't
    know it again, since a new producer has a new ID: the consumer has to, by the header
    `event_id`.

    Args:
        producer: Sends the records, with `acks="all"`, kafka-python's default.
        topic: The topic.
        database: Where the outbox is.
        count: How many events to publish at the most.

    Returns:
        How many events were published.

    Raises:
        ValueError: `count` is less than 1, or a transaction is under way on this
            connection, whose events may be rolled back yet.
        kafka.errors.KafkaTimeoutError: No acknowledgement came in time. The event goes on
            waiting, and may be stored: go on with a new producer.
        kafka.errors.KafkaError: The record is refused; this event and those after it go
            on waiting.

    Source:
        https://kafka.apache.org/43/design/design/#message-delivery-semantics
    """
    if count < 1 or database.in_transaction:
        raise ValueError(f"count is {count}, in transaction: {database.in_transaction}")
    waiting = database.execute(
        "SELECT position, event_id, key, event FROM outbox "
        "WHERE published IS NULL ORDER BY position LIMIT ?",
        (count,),
    ).fetchall()
    for position, event_id, key, event in waiting:
        record = producer.send(
            topic,
            value=event.encode(),
            key=key.encode(),
            headers=[("event_id", event_id.encode())],
        )
        metadata = record.get()
        with database:
            database.execute(
                "UPDATE outbox SET published = ? WHERE position = ?",
                (f"{metadata.partition}-{metadata.offset}", position),
            )
    return len(waiting)


# --8<-- [end:publish_from_outbox]


def demo() -> None:
    """Sell, fail to sell, and crash after an append but before its mark."""
    with (
        temporary_topic() as orders,
        closing(sqlite3.connect(":memory:")) as database,
        KafkaProducer(**settings()) as producer,
    ):
        create_outbox(database)
        database.execute("CREATE TABLE orders (sku TEXT CHECK (sku <> ''))")
        for sku in ("tea", "", "milk"):
            try:
                with database:
                    put(database, "ann", {"sku": sku})
                    database.execute("INSERT INTO orders VALUES (?)", (sku,))
            except sqlite3.IntegrityError:
                print("an order was refused, and its event rolled back")
        print(f"published {publish_from_outbox(producer, orders, database)}")
        with database:
            database.execute("UPDATE outbox SET published = NULL WHERE position = 2")
        print("the mark of the last one is lost, as by a crash after the append")
        print(f"published {publish_from_outbox(producer, orders, database)}")
        with KafkaConsumer(
            orders, auto_offset_reset="earliest", **settings()
        ) as consumer:
            seen = set()
            for record in islice(consumer, 3):
                event_id = dict(record.headers)["event_id"]
                copy = " (the same event_id again)" if event_id in seen else ""
                print(record.offset, record.key.decode(), record.value.decode() + copy)
                seen.add(event_id)


if __name__ == "__main__":
    demo()
