"""Append what a database has committed: no event is lost, whoever crashes in between.

Example:
    ```py
    import sqlite3

    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.publish_from_outbox import (
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
    with connect() as redis, temporary_stream(redis) as orders:
        print(publish_from_outbox(redis, orders, database, "shop"))
        #> 1
        print(publish_from_outbox(redis, orders, database, "shop"))
        #> 0
        print([entry["event"] for _, entry in redis.xrange(orders)])
        #> ['{"sku": "tea"}']
    database.close()
    ```
"""

# --8<-- [start:imports]
import json
import sqlite3
from collections.abc import Mapping
from uuid import uuid4

from redis import Redis

# --8<-- [end:imports]
# isort: split
from contextlib import closing

from snippets.redis_streams import connect, temporary_stream


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
    redis: Redis, stream: str, database: sqlite3.Connection, outbox: str, count: int = 100
) -> int:
    """Append the events that wait in the outbox, in their order, and mark each after it.

    A crash between the two appends the event again at the next call. The stream knows its
    ID for as long as `XCFGSET` says, by default 100 seconds, and stores no second entry;
    after that a consumer has to know it.

    Args:
        redis: A client with `decode_responses=True`.
        stream: The stream's key.
        database: Where the outbox is.
        outbox: The outbox's name: two that write to one stream need two.
        count: How many events to publish at the most.

    Returns:
        How many events were published.

    Raises:
        ValueError: `count` is less than 1, or a transaction is under way on this
            connection, whose events may be rolled back yet.
        redis.ResponseError: The server refuses the entry; this event and those after it
            go on waiting.
        redis.ConnectionError: The reply is lost. The event goes on waiting; if it is
            stored, the next call marks it.
        redis.TimeoutError: As `ConnectionError`.

    Source:
        https://redis.io/docs/latest/develop/data-types/streams/idempotency/
    """
    if count < 1 or database.in_transaction:
        raise ValueError(f"count is {count}, in transaction: {database.in_transaction}")
    waiting = database.execute(
        "SELECT position, event_id, key, event FROM outbox "
        "WHERE published IS NULL ORDER BY position LIMIT ?",
        (count,),
    ).fetchall()
    for position, event_id, key, event in waiting:
        entry_id = redis.xadd(
            stream,
            {"event_id": event_id, "key": key, "event": event},
            idmp=(outbox, event_id.encode()),
        )
        with database:
            database.execute(
                "UPDATE outbox SET published = ? WHERE position = ?",
                (entry_id, position),
            )
    return len(waiting)


# --8<-- [end:publish_from_outbox]


def demo() -> None:
    """Sell, fail to sell, and crash after an append but before its mark."""
    with (
        connect() as redis,
        temporary_stream(redis) as orders,
        closing(sqlite3.connect(":memory:")) as database,
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
        print(f"published {publish_from_outbox(redis, orders, database, 'shop')}")
        for entry_id, entry in redis.xrange(orders):
            print(entry_id, entry["key"], entry["event"])
        with database:
            database.execute("UPDATE outbox SET published = NULL WHERE position = 2")
        print("the mark of the last one is lost, as by a crash after the append")
        print(f"published {publish_from_outbox(redis, orders, database, 'shop')}")
        print(f"the stream holds {redis.xlen(orders)} entries")


if __name__ == "__main__":
    demo()
