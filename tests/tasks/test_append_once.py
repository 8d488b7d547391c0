"""Append once: one call is one entry, also when the reply is lost."""

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
from kafka import KafkaProducer
from redis import ConnectionError as RedisConnectionError
from redis import DataError, Redis, ResponseError

from snippets import servers
from snippets.kafka import settings
from snippets.kafka.append_once import append_once as kafka_append_once
from snippets.redis_streams.append_once import append_once as redis_append_once
from tests.ledger import claim
from tests.tasks.logs import Event
from tests.tasks.topics import read_topic

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]
OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]

TEA: dict[Any, Any] = {"sku": "tea"}
MILK: dict[Any, Any] = {"sku": "milk"}

PRODUCE = 0  # The number of this request in Kafka's protocol.


class Lossy:
    """A connection through the proxy, which may lose a reply and break."""

    def __init__(self, client: socket.socket, server: socket.socket, left: list[int]):
        """Pass on what comes, in both directions, as long as nothing is to be lost."""
        self._client, self._server, self._left = client, server, left
        self._doomed: set[bytes] = set()

    def run(self, read: Callable[[socket.socket], bytes], append: bytes | None) -> None:
        """Pass on until one side has closed; `append` marks a request in Redis."""
        back = threading.Thread(target=self._replies, args=(read, append), daemon=True)
        back.start()
        with suppress(OSError):
            while request := read(self._client):
                if append is None:
                    _, kind, _, number = struct.unpack(">ihh4s", request[:12])
                    if kind == PRODUCE:
                        self._doomed.add(number)
                elif append in request:
                    self._doomed.add(b"")
                self._server.sendall(request)
        self._close()
        back.join()

    def _replies(
        self, read: Callable[[socket.socket], bytes], append: bytes | None
    ) -> None:
        with suppress(OSError):
            while reply := read(self._server):
                number = reply[4:8] if append is None else b""
                if number in self._doomed:
                    self._doomed.remove(number)
                    if self._left[0]:
                        self._left[0] -= 1
                        break
                self._client.sendall(reply)
        self._close()

    def _close(self) -> None:
        for each in (self._client, self._server):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def read_some(source: socket.socket) -> bytes:
    """Read what is there."""
    return source.recv(65536)


def read_frame(source: socket.socket) -> bytes:
    """Read a request or a reply of Kafka's protocol: its size, and so many bytes."""
    size = source.recv(4, socket.MSG_WAITALL)
    if len(size) < 4:
        return b""
    return size + source.recv(struct.unpack(">i", size)[0], socket.MSG_WAITALL)


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """Serve each connection in a thread of its own; yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@contextmanager
def redis_proxy(url: str, lost: list[int]) -> Iterator[str]:
    """Yield the URL of a way to Redis that loses so many replies to `XADD`."""
    target = urlsplit(url)

    def serve(client: socket.socket) -> None:
        server = socket.create_connection((target.hostname, target.port))
        Lossy(client, server, lost).run(read_some, b"XADD")

    with listening(serve) as port:
        yield f"redis://127.0.0.1:{port}"


@contextmanager
def kafka_proxy(lost: list[int]) -> Iterator[str]:
    """Yield the URL of an HTTP proxy that loses so many acknowledgments of records."""

    def serve(client: socket.socket) -> None:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += client.recv(1)
        host, _, port = asked.split()[1].decode().rpartition(":")
        server = socket.create_connection((host.strip("[]"), int(port)))
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        Lossy(client, server, lost).run(read_frame, None)

    with listening(serve) as port:
        yield f"http://127.0.0.1:{port}"


class Shop(Protocol):
    """A stream or a topic."""

    def append(self, event: Event, event_id: str) -> object:
        """Append an event once."""

    def events(self) -> list[Event]:
        """Read all that is there."""


class RedisShop:
    """A stream."""

    def __init__(self, redis: Redis, stream: str) -> None:
        """Use the shared server."""
        self._redis, self._stream = redis, stream

    def append(self, event: Event, event_id: str) -> object:
        """Append an entry."""
        return redis_append_once(self._redis, self._stream, event, "shop", event_id)

    def events(self) -> list[Event]:
        """Read all entries."""
        entries: Any = self._redis.xrange(self._stream)
        return [event for _, event in entries]


class KafkaShop:
    """A topic."""

    def __init__(self, producer: KafkaProducer, topic: str) -> None:
        """Use the shared broker."""
        self._producer, self._topic = producer, topic

    def append(self, event: Event, event_id: str) -> object:
        """Append a record."""
        return kafka_append_once(self._producer, self._topic, event, event_id, key="ann")

    def events(self) -> list[Event]:
        """Read all records."""
        return [json.loads(each.value) for each in read_topic(self._topic)]


@pytest.fixture(params=["redis_streams", "kafka"])
def shop(request: pytest.FixtureRequest) -> Shop:
    """A stream, and then a topic, that only this test uses."""
    if request.param == "redis_streams":
        return RedisShop(
            request.getfixturevalue("redis"), request.getfixturevalue("stream")
        )
    return KafkaShop(
        request.getfixturevalue("producer"), request.getfixturevalue("topic")
    )


def test_events_with_ids_of_their_own_are_stored_even_if_they_are_equal(
    shop: Shop,
) -> None:
    assert shop.append(TEA, "order-7") != shop.append(TEA, "order-8")
    assert shop.events() == [TEA, TEA]


def test_nonsense_is_refused_and_nothing_is_stored(shop: Shop) -> None:
    for event, event_id in (({}, "order-7"), (TEA, "")):
        with pytest.raises((ValueError, DataError)):
            shop.append(event, event_id)
    assert shop.events() == []


def test_redis_refuses_a_producer_without_a_name(redis: Redis, stream: str) -> None:
    with pytest.raises(ValueError, match="need a name"):
        redis_append_once(redis, stream, TEA, "", "order-7")
    assert redis.xlen(stream) == 0


def test_redis_refuses_a_key_that_is_no_stream(redis: Redis, stream: str) -> None:
    redis.set(stream, "text")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        redis_append_once(redis, stream, TEA, "shop", "order-7")


def test_redis_may_be_called_again_after_a_lost_reply(own_redis: OwnRedis) -> None:
    with (
        own_redis() as server,
        redis_proxy(server.url, [1]) as url,
        Redis.from_url(url, decode_responses=True, retry=None) as redis,
    ):
        with pytest.raises(RedisConnectionError):
            redis_append_once(redis, "orders", TEA, "shop", "order-7")
        entry_id = redis_append_once(redis, "orders", TEA, "shop", "order-7")
        assert redis.xrange("orders") == [(entry_id, TEA)]


@claim(servers="redis", since="8.6")
def test_redis_client_stores_copies_when_replies_are_lost(own_redis: OwnRedis) -> None:
    """When the reply is lost twice, one `xadd` of a `redis.Redis(host=...)` with default
    settings stores three entries, and one `xadd` with `idmp` stores one.
    """
    lost = [2]
    with (
        own_redis() as server,
        redis_proxy(server.url, lost) as url,
        Redis("127.0.0.1", urlsplit(url).port or 0, decode_responses=True) as redis,
    ):
        last = redis.xadd("plain", TEA)
        assert lost == [0]
        entries: Any = redis.xrange("plain")
        assert [event for _, event in entries] == [TEA] * 3
        assert entries[2][0] == last
        lost[0] = 2
        first = redis_append_once(redis, "once", TEA, "shop", "order-7")
        assert lost == [0]
        assert redis.xrange("once") == [(first, TEA)]
        assert redis.xinfo_stream("once")["iids-duplicates"] == 2


def test_redis_client_made_from_a_url_does_not_retry_by_default(
    own_redis: OwnRedis,
) -> None:
    lost = [1]
    with (
        own_redis() as server,
        redis_proxy(server.url, lost) as url,
        Redis.from_url(url, decode_responses=True) as redis,
    ):
        with pytest.raises(RedisConnectionError):
            redis.xadd("plain", TEA)
        assert redis.xlen("plain") == 1


@claim(servers="redis", since="8.6")
def test_redis_idmp_answers_for_an_entry_that_is_deleted(
    redis: Redis, stream: str
) -> None:
    """Redis remembers an `IDMP` ID although its entry was deleted: the next event with
    that ID gets the ID of an entry that isn't there, and is not stored.
    """
    first = redis_append_once(redis, stream, TEA, "shop", "order-7")
    redis.xdel(stream, first)
    assert redis_append_once(redis, stream, MILK, "shop", "order-7") == first
    assert redis.xlen(stream) == 0


@claim(servers="redis", since="8.6")
def test_redis_changing_the_idmp_window_forgets_the_ids(
    redis: Redis, stream: str
) -> None:
    """`XCFGSET` with another window makes Redis forget the `IDMP` IDs of the stream: what
    was appended before is stored again.
    """
    first = redis_append_once(redis, stream, TEA, "shop", "order-7")
    redis.xcfgset(stream, idmp_duration=300, idmp_maxsize=10_000)
    assert redis_append_once(redis, stream, TEA, "shop", "order-7") != first
    redis_append_once(redis, stream, TEA, "shop", "order-7")
    assert redis.xlen(stream) == 2


def test_redis_remembers_for_longer_than_the_client_lets_you_ask(
    redis: Redis, stream: str
) -> None:
    redis_append_once(redis, stream, TEA, "shop", "order-7")
    with pytest.raises(DataError, match="between 1 and 300"):
        redis.xcfgset(stream, idmp_duration=86_400)
    untyped: Any = redis
    untyped.execute_command("XCFGSET", stream, "IDMP-DURATION", 86_400)
    assert redis.xinfo_stream(stream)["idmp-duration"] == 86_400
    redis.xcfgset(stream, idmp_maxsize=10_000)
    with pytest.raises(ResponseError):
        redis.xcfgset(stream, idmp_maxsize=10_001)


@claim(servers="kafka", since="0.11")
def test_kafka_idempotence_drops_what_is_sent_again(own_kafka: OwnKafka) -> None:
    """When the acknowledgment is lost twice, a Kafka producer sends the record again: it
    is stored three times without idempotence, and once with it.
    """
    lost = [0]
    with own_kafka() as server, kafka_proxy(lost) as url:
        # The topics are there before anything is lost.
        through = dict(server.settings) | {"proxy_url": url, "retry_backoff_ms": 10}
        with KafkaProducer(enable_idempotence=False, **through) as producer:
            producer.send("plain", json.dumps(MILK).encode()).get()
            lost[0] = 2
            producer.send("plain", json.dumps(TEA).encode()).get()
            assert lost == [0]
        with KafkaProducer(**through) as producer:
            kafka_append_once(producer, "once", MILK, "order-6")
            lost[0] = 2
            assert kafka_append_once(producer, "once", TEA, "order-7") == (0, 1)
            assert lost == [0]
            assert kafka_append_once(producer, "once", MILK, "order-8") == (0, 2)
        for topic, events in (
            ("plain", [MILK, TEA, TEA, TEA]),
            ("once", [MILK, TEA, MILK]),
        ):
            records = read_topic(topic, client=dict(server.settings))
            assert [json.loads(each.value) for each in records] == events


def test_kafka_writes_the_id_into_a_header(producer: KafkaProducer, topic: str) -> None:
    kafka_append_once(producer, topic, TEA, "order-7")
    (record,) = read_topic(topic)
    assert record.headers == [("event_id", b"order-7")]


@pytest.mark.usefixtures("kafka_environment")
@pytest.mark.parametrize("option", [{"enable_idempotence": False}, {"acks": 1}], ids=str)
def test_kafka_refuses_a_producer_that_may_store_copies(topic: str, option: Any) -> None:
    with (
        KafkaProducer(**option, **settings()) as producer,
        pytest.raises(ValueError, match="idempotent"),
    ):
        kafka_append_once(producer, topic, TEA, "order-7")
    assert read_topic(topic) == []
