"""Publish from an outbox: a crash between any two steps loses nothing."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka import TopicPartition as Partition
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError
from redis import ConnectionError as RedisConnectionError
from redis import Redis, ResponseError

from snippets import servers
from snippets.kafka import publish_from_outbox as kafka_task
from snippets.kafka import settings
from snippets.redis_streams import publish_from_outbox as redis_task
from snippets.servers.ready import attempts
from tests.ledger import claim
from tests.tasks.logs import PATIENCE_S
from tests.tasks.topics import read_topic
from tests.tasks.workers import killed

# The worker is killed when the log has the event, and the database doesn't know it yet.
KILLED_BEFORE_THE_MARK = {
    "redis_streams": """
        import redis, sqlite3
        from snippets.redis_streams.publish_from_outbox import publish_from_outbox
        class Dying(redis.Redis):
            def xadd(self, *args, **kwargs):
                super().xadd(*args, **kwargs)
                os.kill(os.getpid(), 9)
        client = Dying.from_url(os.environ["REDIS_URL"], decode_responses=True)
        publish_from_outbox(client, sys.argv[2], sqlite3.connect(sys.argv[1]), "shop")
        """,
    "kafka": """
        import sqlite3
        from kafka import KafkaProducer
        from snippets.kafka import settings
        from snippets.kafka.publish_from_outbox import publish_from_outbox
        class Dying(KafkaProducer):
            def send(self, *args, **kwargs):
                super().send(*args, **kwargs).get()
                os.kill(os.getpid(), 9)
        producer = Dying(**settings())
        publish_from_outbox(producer, sys.argv[2], sqlite3.connect(sys.argv[1]))
        """,
}

SELL_AND_BE_KILLED = """
    import sqlite3
    from snippets.{system}.publish_from_outbox import put
    database = sqlite3.connect(sys.argv[1])
    database.execute("INSERT INTO orders VALUES ('milk')")
    if sys.argv[2] == "after the event":
        put(database, "ann", {{"sku": "milk"}})
    if sys.argv[3] == "committed":
        database.commit()
    os.kill(os.getpid(), 9)
    """


class Entry(NamedTuple):
    """What the log holds of an event."""

    event_id: str
    key: str
    event: str


class Shop(NamedTuple):
    """A database with an outbox, and the log that it publishes to."""

    system: str
    task: Any
    file: Path
    database: sqlite3.Connection
    log: str
    relay: Callable[..., int]
    entries: Callable[[], list[Entry]]

    def sell(self, sku: str) -> str:
        """Write an order and its event."""
        with self.database:
            self.database.execute("INSERT INTO orders VALUES (?)", (sku,))
            return str(self.task.put(self.database, "ann", {"sku": sku}))

    def waiting(self) -> int:
        """Count what is not published."""
        query = "SELECT count(*) FROM outbox WHERE published IS NULL"
        return int(self.database.execute(query).fetchone()[0])

    def sold(self) -> int:
        """Count the orders."""
        return int(self.database.execute("SELECT count(*) FROM orders").fetchone()[0])


def redis_entries(redis: Redis, stream: str) -> list[Entry]:
    """Read the whole stream."""
    found: Any = redis.xrange(stream)
    return [Entry(**event) for _, event in found]


def kafka_entries(topic: str) -> list[Entry]:
    """Read the whole topic."""
    return [
        Entry(
            dict(each.headers)["event_id"].decode(),
            each.key.decode(),
            each.value.decode(),
        )
        for each in read_topic(topic)
    ]


@pytest.fixture(params=["redis_streams", "kafka"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    """A shop that publishes to one system."""
    file = tmp_path / "shop.db"
    with closing(sqlite3.connect(file)) as database:
        database.execute("CREATE TABLE orders (sku TEXT)")
        if request.param == "redis_streams":
            redis, stream = (request.getfixturevalue(n) for n in ("redis", "stream"))

            def relay(count: int = 100) -> int:
                return redis_task.publish_from_outbox(
                    redis, stream, database, "shop", count
                )

            made = Shop(
                request.param,
                redis_task,
                file,
                database,
                stream,
                relay,
                lambda: redis_entries(redis, stream),
            )
        else:
            topic, producer = (request.getfixturevalue(n) for n in ("topic", "producer"))

            def relay(count: int = 100) -> int:
                return kafka_task.publish_from_outbox(producer, topic, database, count)

            made = Shop(
                request.param,
                kafka_task,
                file,
                database,
                topic,
                relay,
                lambda: kafka_entries(topic),
            )
        made.task.create_outbox(database)
        yield made


def test_each_event_is_published_once_and_in_order(shop: Shop) -> None:
    ids = [shop.sell(sku) for sku in ("tea", "milk", "jam")]
    assert (shop.relay(2), shop.relay(2), shop.relay(2)) == (2, 1, 0)
    assert shop.entries() == [
        Entry(event_id, "ann", f'{{"sku": "{sku}"}}')
        for event_id, sku in zip(ids, ("tea", "milk", "jam"), strict=True)
    ]


def test_an_event_of_a_transaction_that_is_rolled_back_is_never_published(
    shop: Shop,
) -> None:
    def fail() -> None:
        with shop.database:
            shop.task.put(shop.database, "ann", {"sku": "milk"})
            raise LookupError

    shop.sell("tea")
    with pytest.raises(LookupError):
        fail()
    assert shop.relay() == 1
    assert [entry.event for entry in shop.entries()] == ['{"sku": "tea"}']


def test_what_is_not_committed_is_not_published(shop: Shop) -> None:
    shop.task.put(shop.database, "ann", {"sku": "tea"})
    with pytest.raises(ValueError, match="in transaction: True"):
        shop.relay()
    shop.database.rollback()
    assert shop.relay() == 0


@pytest.mark.parametrize(
    ("where", "end", "sold", "published"),
    [
        ("before the event", "not committed", 0, 0),
        ("after the event", "not committed", 0, 0),
        ("after the event", "committed", 1, 1),
    ],
)
def test_a_seller_that_is_killed_leaves_order_and_event_or_neither(
    shop: Shop, where: str, end: str, sold: int, published: int
) -> None:
    killed(SELL_AND_BE_KILLED.format(system=shop.system), shop.file, where, end)
    assert shop.relay() == published
    assert (shop.sold(), len(shop.entries())) == (sold, published)


def test_a_relay_that_is_killed_before_the_mark_loses_nothing(shop: Shop) -> None:
    ids = [shop.sell(sku) for sku in ("tea", "milk")]
    killed(KILLED_BEFORE_THE_MARK[shop.system], shop.file, shop.log)
    assert shop.waiting() == 2
    assert shop.relay() == 2
    found = [entry.event_id for entry in shop.entries()]
    assert list(dict.fromkeys(found)) == ids
    # Redis knows the ID again. Kafka doesn't, and the consumer has to.
    assert found == (ids if shop.system == "redis_streams" else [ids[0], *ids])


def test_nonsense_is_refused_and_nothing_is_written(shop: Shop) -> None:
    with pytest.raises(ValueError, match="at least one field"):
        shop.task.put(shop.database, "ann", {})
    with pytest.raises(ValueError, match="count is 0"):
        shop.relay(0)
    assert shop.waiting() == 0


def test_the_outbox_is_created_once(shop: Shop) -> None:
    shop.sell("tea")
    shop.task.create_outbox(shop.database)
    assert shop.waiting() == 1


def test_redis_keeps_waiting_what_the_server_refuses(
    redis: Redis, stream: str, tmp_path: Path
) -> None:
    redis.set(stream, "text")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        redis_task.create_outbox(database)
        with database:
            redis_task.put(database, "ann", {"sku": "tea"})
        with pytest.raises(ResponseError, match="WRONGTYPE"):
            redis_task.publish_from_outbox(redis, stream, database, "shop")
        redis.delete(stream)
        assert redis_task.publish_from_outbox(redis, stream, database, "shop") == 1


def test_redis_publishes_when_the_server_is_back(
    own_redis: Callable[..., AbstractContextManager[servers.Redis]], tmp_path: Path
) -> None:
    published = 0
    with (
        own_redis(config={"appendonly": "yes"}) as server,
        Redis.from_url(server.url, decode_responses=True) as redis,
        closing(sqlite3.connect(tmp_path / "shop.db")) as database,
    ):
        redis_task.create_outbox(database)
        for sku in ("tea", "milk"):
            with database:
                redis_task.put(database, "ann", {"sku": sku})
        args = (redis, "orders", database, "shop")
        assert redis_task.publish_from_outbox(*args, count=1) == 1
        server.nodes[0].kill()
        # This client comes from a URL and retries nothing: the caller does.
        with pytest.raises(RedisConnectionError):
            redis_task.publish_from_outbox(*args)
        server.nodes[0].start()
        for _ in attempts(PATIENCE_S):
            with suppress(RedisConnectionError):
                published += redis_task.publish_from_outbox(*args)
            if published:
                break
        events = [entry.event for entry in redis_entries(redis, "orders")]
    assert published == 1
    assert events == ['{"sku": "tea"}', '{"sku": "milk"}']


@claim(servers="redis", since="8.6")
def test_redis_idmp_stores_no_second_entry(redis: Redis, stream: str) -> None:
    """`XADD` with `IDMP` and an ID that the same producer has used within the window
    stores nothing, even if the fields differ, and answers with the first entry's ID.
    """
    first = redis.xadd(stream, {"order": "7"}, idmp=("shop", b"event-1"))
    redis.xadd(stream, {"order": "8"}, idmp=("shop", b"event-2"))
    again = redis.xadd(stream, {"order": "other"}, idmp=("shop", b"event-1"))
    assert (again, redis.xlen(stream)) == (first, 2)
    assert redis.xadd(stream, {"order": "7"}, idmp=("mall", b"event-1")) != first
    assert redis.xlen(stream) == 3


@claim(servers="redis", since="8.6")
def test_redis_idmp_remembers_a_hundred_ids_by_default(redis: Redis, stream: str) -> None:
    """By default Redis remembers for `IDMP` the last 100 IDs of a producer, for 100
    seconds at the most: the 101st makes it forget the first, whose copy is then stored.
    """
    info: Any = None
    for number in range(101):
        redis.xadd(stream, {"order": "7"}, idmp=("shop", f"event-{number}".encode()))
        if number == 99:
            redis.xadd(stream, {"order": "7"}, idmp=("shop", b"event-0"))
            assert redis.xlen(stream) == 100
            info = redis.xinfo_stream(stream)
    assert (info["idmp-duration"], info["idmp-maxsize"]) == (100, 100)
    redis.xadd(stream, {"order": "7"}, idmp=("shop", b"event-0"))
    assert redis.xlen(stream) == 102


@claim(servers="kafka", since="2.8")
def test_kafka_restarted_producer_has_a_new_id(
    topic: str, producer: KafkaProducer
) -> None:
    """An idempotent Kafka producer without a `transactional.id` gets a new producer ID
    when it restarts, so that the broker stores again what it sends again.
    """
    producer.send(topic, b"{}", key=b"event-1").get()
    with KafkaProducer(**settings()) as restarted:
        restarted.send(topic, b"{}", key=b"event-1").get()
    with KafkaAdminClient(**settings()) as admin:
        described = admin.describe_producers([Partition(topic, 0)])
    (state,) = described.values()
    ids = {each.producer_id for each in state.active_producers}
    assert len(ids) == 2
    assert [each.offset for each in read_topic(topic)] == [0, 1]


def test_kafka_lets_an_event_that_is_too_large_stand_in_the_way(
    topic: str, producer: KafkaProducer, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as database:
        kafka_task.create_outbox(database)
        with database:
            kafka_task.put(database, "ann", {"picture": "x" * 2_000_000})
            kafka_task.put(database, "ann", {"sku": "tea"})
        with pytest.raises(MessageSizeTooLargeError):
            kafka_task.publish_from_outbox(producer, topic, database)
        waiting = "SELECT count(*) FROM outbox WHERE published IS NULL"
        assert database.execute(waiting).fetchone() == (2,)


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_keeps_waiting_what_is_not_acknowledged_in_time(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "shop.db")) as database,
        closing(KafkaProducer(max_block_ms=1, **settings())) as hasty,
    ):
        kafka_task.create_outbox(database)
        with database:
            kafka_task.put(database, "ann", {"sku": "tea"})
        with pytest.raises(KafkaTimeoutError):
            kafka_task.publish_from_outbox(hasty, "example-unknown", database)
        waiting = "SELECT count(*) FROM outbox WHERE published IS NULL"
        assert database.execute(waiting).fetchone() == (1,)
