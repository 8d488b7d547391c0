"""One user, one job: both systems refuse the wrong password, place and client alike.

What differs is tested by name: groups, open connections, and what a restart forgets.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import UserScramCredentialDeletion
from kafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    KafkaTimeoutError,
    SecurityDisabledError,
    TopicAuthorizationFailedError,
)
from redis import (
    AuthenticationError,
    Redis,
    RedisError,
    ResponseError,
)
from redis import ConnectionError as RedisConnectionError
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry

from snippets import kafka as kafka_tasks
from snippets import servers
from snippets.kafka import secure as kafka_secure
from snippets.redis_streams import secure as redis_secure
from snippets.servers.ready import attempts, until_redis_answers
from tests.ledger import claim

OwnRedis = Callable[..., AbstractContextManager[servers.Redis]]

SECRET, GUESSED = "a long secret", "a lucky guess"
GROUP = "billing"

REFUSED = re.compile("permission|AuthorizationFailed", re.IGNORECASE)

# kafka-python's error is that time is up, so this is how long a refusal takes.
REFUSAL_MS = 500
PATIENCE_S = 30
PATIENCE_MS = PATIENCE_S * 1000


class Place(Protocol):
    """A secured server, two logs on it, and what a user of it may try."""

    orders: str
    payments: str
    wrong_password: str
    no_tls: str
    distrusted: str

    def user(self, *, produces: str = "", consumes: str = "") -> str:
        """Make a user for one job."""

    def set_password(self, user: str, password: str) -> None:
        """Give a user a password."""

    def remove(self, user: str) -> bool:
        """Remove a user."""

    def settings(self, user: str, password: str = SECRET) -> dict[str, Any]:
        """Return the settings of a client that does all right."""

    def distrust(self, user: str) -> dict[str, Any]:
        """Return the settings of a client that doesn't know the authority."""

    def append(self, settings: dict[str, Any], log: str) -> object:
        """Append an event."""

    def consume(self, settings: dict[str, Any], log: str) -> int:
        """Read in the group, acknowledge, and count what was read."""

    def refusal(self, action: Callable[[], object]) -> str:
        """Return why an action is refused."""

    def turns_away(self, settings: dict[str, Any], why: str) -> None:
        """Fail unless a client is kept from connecting, for the reason expected."""


class RedisPlace:
    """A Redis with TLS and passwords."""

    wrong_password = "invalid username-password pair"  # noqa: S105
    no_tls = "reset by peer|closed by server"
    distrusted = "CERTIFICATE_VERIFY_FAILED"

    def __init__(self, server: servers.Redis, stack: ExitStack) -> None:
        """Connect as the user who may do everything."""
        self._stack = stack
        self.admin: Redis = self.open(Redis.from_url(server.url, decode_responses=True))
        self.at = self.admin.connection_pool.connection_kwargs
        self.orders, self.payments = (f"log-{uuid4().hex}" for _ in range(2))
        stack.callback(self.admin.delete, self.orders, self.payments)
        for stream in (self.orders, self.payments):
            self.admin.xgroup_create(stream, GROUP, id="0", mkstream=True)

    def open(self, client: Redis) -> Redis:
        """Have a client closed in the end."""
        self._stack.callback(client.close)
        return client

    def user(self, *, produces: str = "", consumes: str = "") -> str:
        """Make a user for one job."""
        user = f"user-{uuid4().hex}"
        redis_secure.set_password(self.admin, user, SECRET)
        self._stack.callback(redis_secure.remove_user, self.admin, user)
        if produces:
            redis_secure.allow_producer(self.admin, user, produces)
        if consumes:
            redis_secure.allow_consumer(self.admin, user, consumes)
        return user

    def set_password(self, user: str, password: str) -> None:
        """Give a user a password."""
        redis_secure.set_password(self.admin, user, password)

    def remove(self, user: str) -> bool:
        """Remove a user."""
        return redis_secure.remove_user(self.admin, user)

    def settings(self, user: str, password: str = SECRET) -> dict[str, Any]:
        """Return the settings of a client that does all right."""
        return redis_secure.secure_settings(user, password, self.at["ssl_ca_certs"])

    def distrust(self, user: str) -> dict[str, Any]:
        """Return the settings of a client that doesn't know the authority."""
        return redis_secure.secure_settings(user, SECRET, None)

    def client(self, settings: dict[str, Any]) -> Redis:
        """Make a client that tries everything once."""
        place = {"host": self.at["host"], "port": self.at["port"]}
        once = Retry(NoBackoff(), 0)
        return self.open(Redis(**place, **settings, decode_responses=True, retry=once))

    def append(self, settings: dict[str, Any], log: str) -> object:
        """Append an event."""
        return self.client(settings).xadd(log, {"n": "1"})

    def consume(self, settings: dict[str, Any], log: str) -> int:
        """Read in the group, acknowledge, and count what was read."""
        client = self.client(settings)
        replies: Any = client.xreadgroup(GROUP, "worker-1", {log: ">"})
        ids = [entry_id for entry_id, _ in replies[0][1]]
        return int(client.xack(log, GROUP, *ids))

    def refusal(self, action: Callable[[], object]) -> str:
        """Return why an action is refused."""
        with pytest.raises(RedisError) as raised:
            action()
        return str(raised.value)

    def turns_away(self, settings: dict[str, Any], why: str) -> None:
        """Fail unless a client is kept from connecting, for the reason expected."""
        with pytest.raises((AuthenticationError, RedisConnectionError), match=why):
            self.client(settings).ping()


class KafkaPlace:
    """A Kafka with TLS, passwords and ACLs."""

    wrong_password = "invalid credentials"  # noqa: S105
    no_tls = distrusted = "SSL handshake failed"

    def __init__(self, server: servers.Kafka, stack: ExitStack) -> None:
        """Connect as the user who may do everything."""
        self._stack = stack
        self.server = server
        self.admin = stack.enter_context(KafkaAdminClient(**server.settings))
        self.orders = stack.enter_context(kafka_tasks.temporary_topic())
        self.payments = stack.enter_context(kafka_tasks.temporary_topic())

    def user(self, *, produces: str = "", consumes: str = "") -> str:
        """Make a user for one job."""
        user = f"user-{uuid4().hex}"
        kafka_secure.set_password(self.admin, user, SECRET)
        self._stack.callback(kafka_secure.remove_user, self.admin, user)
        if produces:
            kafka_secure.allow_producer(self.admin, user, produces)
        if consumes:
            kafka_secure.allow_consumer(self.admin, user, consumes, GROUP)
        return user

    def set_password(self, user: str, password: str) -> None:
        """Give a user a password."""
        kafka_secure.set_password(self.admin, user, password)

    def remove(self, user: str) -> bool:
        """Remove a user."""
        return kafka_secure.remove_user(self.admin, user)

    def settings(self, user: str, password: str = SECRET) -> dict[str, Any]:
        """Return the settings of a client that does all right."""
        ca_file = self.server.settings["ssl_cafile"]
        return kafka_secure.secure_settings(user, password, ca_file)

    def distrust(self, user: str) -> dict[str, Any]:
        """Return the settings of a client that doesn't know the authority."""
        return kafka_secure.secure_settings(user, SECRET, None)

    def producer(self, settings: dict[str, Any], **more: Any) -> KafkaProducer:
        """Make a producer."""
        place = {"bootstrap_servers": self.server.bootstrap_servers}
        return self._stack.enter_context(KafkaProducer(**place, **settings, **more))

    def append(self, settings: dict[str, Any], log: str) -> object:
        """Append an event."""
        # A client without rights is told of them only if it isn't idempotent.
        more = {"enable_idempotence": False}
        return self.producer(settings, **more).send(log, b"1").get(PATIENCE_S)

    def consume(
        self, settings: dict[str, Any], log: str, group: str | None = GROUP
    ) -> int:
        """Read in the group, acknowledge, and count what was read."""
        with KafkaConsumer(
            bootstrap_servers=self.server.bootstrap_servers,
            **settings,
            group_id=group,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
        ) as consumer:
            # Subscribed to what it may not read, it would wait for ever.
            consumer.assign([TopicPartition(log, 0)])
            found = sum(map(len, consumer.poll(PATIENCE_MS).values()))
            consumer.commit()
            return found

    def refusal(self, action: Callable[[], object]) -> str:
        """Return why an action is refused."""
        with pytest.raises(KafkaError) as raised:
            action()
        return str(raised.value)

    def turns_away(self, settings: dict[str, Any], why: str) -> None:
        """Fail unless a client is kept from connecting, for the reason expected."""
        place = {"bootstrap_servers": self.server.bootstrap_servers}
        (broker,) = self.server.brokers
        before = len(broker.logs())
        # Only the broker says why; on a busy machine it hears of us a little later.
        while not re.search(why, broker.logs()[before:]):
            with pytest.raises(KafkaTimeoutError):
                KafkaAdminClient(**place, **settings, bootstrap_timeout_ms=REFUSAL_MS)


@pytest.fixture
def redis_place(secure_redis: servers.Redis) -> Iterator[RedisPlace]:
    """A secured Redis with two streams."""
    with ExitStack() as stack:
        yield RedisPlace(secure_redis, stack)


@pytest.fixture
def kafka_place(
    secure_kafka: servers.Kafka, monkeypatch: pytest.MonkeyPatch
) -> Iterator[KafkaPlace]:
    """A secured Kafka with two topics."""
    for name, value in secure_kafka.environment().items():
        monkeypatch.setenv(name, value)
    with ExitStack() as stack:
        yield KafkaPlace(secure_kafka, stack)


@pytest.fixture(params=["redis", "kafka"])
def place(
    request: pytest.FixtureRequest,
    secure_redis: servers.Redis,  # noqa: ARG001
    secure_kafka: servers.Kafka,  # noqa: ARG001
) -> Place:
    """A secured Redis, and then a secured Kafka."""
    made: Place = request.getfixturevalue(f"{request.param}_place")
    return made


def test_each_user_does_its_job(place: Place) -> None:
    producer = place.user(produces=place.orders)
    consumer = place.user(consumes=place.orders)
    for _ in range(3):
        place.append(place.settings(producer), place.orders)
    assert place.consume(place.settings(consumer), place.orders) == 3


def test_a_wrong_password_is_refused(place: Place) -> None:
    user = place.user(produces=place.orders)
    place.turns_away(place.settings(user, GUESSED), place.wrong_password)


def test_a_user_is_refused_another_log(place: Place) -> None:
    producer = place.settings(place.user(produces=place.orders))
    consumer = place.settings(place.user(consumes=place.orders))
    for why in (
        place.refusal(lambda: place.append(producer, place.payments)),
        place.refusal(lambda: place.consume(consumer, place.payments)),
    ):
        assert REFUSED.search(why)


def test_a_consumer_cannot_append_and_a_producer_cannot_read(place: Place) -> None:
    producer = place.settings(place.user(produces=place.orders))
    consumer = place.settings(place.user(consumes=place.orders))
    place.append(producer, place.orders)
    for why in (
        place.refusal(lambda: place.append(consumer, place.orders)),
        place.refusal(lambda: place.consume(producer, place.orders)),
    ):
        assert REFUSED.search(why)
    assert place.consume(consumer, place.orders) == 1


def test_a_new_user_may_do_nothing(place: Place) -> None:
    nobody = place.settings(place.user())
    why = place.refusal(lambda: place.append(nobody, place.orders))
    assert REFUSED.search(why)


def test_a_client_without_tls_is_refused(place: Place) -> None:
    place.turns_away({}, place.no_tls)


def test_a_client_without_the_authority_refuses_the_server(place: Place) -> None:
    user = place.user(produces=place.orders)
    place.turns_away(place.distrust(user), place.distrusted)


def test_a_new_password_replaces_the_old_one(place: Place) -> None:
    user = place.user(produces=place.orders)
    place.set_password(user, "another long secret")
    assert place.append(place.settings(user, "another long secret"), place.orders)
    place.turns_away(place.settings(user), place.wrong_password)


def test_a_user_is_removed_once(place: Place) -> None:
    user = place.user(produces=place.orders)
    assert place.remove(user)
    # A Kafka broker hears from its controller a moment later.
    assert any(not place.remove(user) for _ in attempts(PATIENCE_S))
    place.turns_away(place.settings(user), place.wrong_password)


def test_an_empty_password_is_refused(place: Place) -> None:
    with pytest.raises(ValueError, match="is empty"):
        place.set_password("anybody", "")
    assert not place.remove("anybody")
    for user, password in (("", SECRET), ("anybody", "")):
        with pytest.raises(ValueError, match="needs a user and a password"):
            place.settings(user, password)


def test_redis_name_with_a_space_is_refused_and_changes_nothing(
    redis_place: RedisPlace,
) -> None:
    admin = redis_place.admin
    user = redis_place.user(produces=redis_place.orders)
    before = admin.acl_getuser(user)
    for allow in (redis_secure.allow_producer, redis_secure.allow_consumer):
        with pytest.raises(ResponseError, match="Syntax error"):
            allow(admin, user, "two words")
        with pytest.raises(ValueError, match="needs a name"):
            allow(admin, user, "")
        with pytest.raises(ResponseError, match="can't contain spaces"):
            allow(admin, "two words", redis_place.orders)
    assert admin.acl_getuser(user) == before
    with pytest.raises(ResponseError, match="can't contain spaces"):
        redis_secure.set_password(admin, "two words", SECRET)
    with pytest.raises(ResponseError, match="default"):
        redis_secure.remove_user(admin, "default")


@pytest.mark.parametrize("name", ["log*", "log?", "log[a-z]", "log^", "log\\"])
def test_redis_pattern_in_a_name_stands_for_itself(
    redis_place: RedisPlace, name: str
) -> None:
    admin = redis_place.admin
    producer = redis_place.user(produces=name)
    consumer = redis_place.user(consumes=name)
    xadd = ("XADD", name, "*", "n", "1")
    xack = ("XACK", name, GROUP, "1-1")
    assert admin.acl_dryrun(producer, *xadd) == "OK"
    assert admin.acl_dryrun(consumer, *xack) == "OK"
    for other in ("logs", "log", "loga", name + name):
        assert admin.acl_dryrun(producer, "XADD", other, *xadd[2:]) != "OK"
        assert admin.acl_dryrun(consumer, "XACK", other, *xack[2:]) != "OK"


def test_redis_new_job_takes_the_old_one_away_on_open_connections(
    redis_place: RedisPlace,
) -> None:
    user = redis_place.user(produces=redis_place.orders)
    client = redis_place.client(redis_place.settings(user))
    client.xadd(redis_place.orders, {"n": "1"})
    redis_secure.allow_consumer(redis_place.admin, user, redis_place.payments)
    for stream in (redis_place.orders, redis_place.payments):
        with pytest.raises(NoPermissionError):
            client.xadd(stream, {"n": "2"})


def test_redis_right_job_leaves_no_trace_in_the_acl_log(redis_place: RedisPlace) -> None:
    producer = redis_place.user(produces=redis_place.orders)
    consumer = redis_place.user(consumes=redis_place.orders)
    redis_place.append(redis_place.settings(producer), redis_place.orders)
    redis_place.consume(redis_place.settings(consumer), redis_place.orders)
    entries: Any = redis_place.admin.acl_log()
    assert not {producer, consumer} & {entry["username"] for entry in entries}


@claim(servers="redis", since="6.0")
def test_redis_acl_names_no_group(redis_place: RedisPlace) -> None:
    """A Redis user that may read a stream in one group may read it in every group."""
    admin, stream = redis_place.admin, redis_place.orders
    consumer = redis_place.client(redis_place.settings(redis_place.user(consumes=stream)))
    admin.xgroup_create(stream, "of-another-team", id="0")
    admin.xadd(stream, {"n": "1"})
    for group in (GROUP, "of-another-team"):
        replies: Any = consumer.xreadgroup(group, "worker-1", {stream: ">"})
        ((entry_id, _),) = replies[0][1]
        assert consumer.xack(stream, group, entry_id) == 1


@claim(servers="redis", since="6.0")
def test_redis_removing_a_user_closes_its_connections(redis_place: RedisPlace) -> None:
    """`ACL DELUSER` closes the open connections of the user that it removes."""
    user = redis_place.user(produces=redis_place.orders)
    client = redis_place.client(redis_place.settings(user))
    client.xadd(redis_place.orders, {"n": "1"})
    connection: Any = client.connection_pool.get_connection()
    assert redis_secure.remove_user(redis_place.admin, user)
    connection.send_command("XADD", redis_place.orders, "*", "n", "2")
    with pytest.raises(RedisConnectionError):
        connection.read_response()
    client.connection_pool.release(connection)
    with pytest.raises(AuthenticationError):
        client.xadd(redis_place.orders, {"n": "3"})
    assert redis_place.admin.xlen(redis_place.orders) == 1


@claim(servers="redis", since="6.0")
def test_redis_user_is_gone_after_a_restart(own_redis: OwnRedis) -> None:
    """A user made by `ACL SETUSER` is gone after a restart, unless Redis has saved it."""
    with own_redis(config={"appendonly": "yes"}) as server:
        (node,) = server.nodes
        with Redis.from_url(server.url, decode_responses=True) as admin:
            redis_secure.set_password(admin, "web", SECRET)
            admin.xadd("orders", {"n": "1"})
            assert "web" in admin.acl_users()
            node.stop()
            node.start()
            until_redis_answers(server.url, alive=lambda: None)
            assert admin.xlen("orders") == 1
            assert admin.acl_users() == ["default"]


@claim(servers="redis", since="6.0")
def test_redis_users_are_not_replicated(own_redis: OwnRedis) -> None:
    """A user made on a Redis primary is unknown to its replicas."""
    with (
        own_redis(replicas=1) as server,
        Redis.from_url(server.urls[0], decode_responses=True) as primary,
        Redis.from_url(server.urls[1], decode_responses=True) as replica,
    ):
        redis_secure.set_password(primary, "web", SECRET)
        primary.xadd("orders", {"n": "1"})
        assert primary.wait(1, PATIENCE_MS) == 1
        assert replica.xlen("orders") == 1
        assert replica.acl_users() == ["default"]


@pytest.mark.parametrize("wildcard", ["", "*"])
def test_kafka_wildcard_is_refused(kafka_place: KafkaPlace, wildcard: str) -> None:
    admin, topic = kafka_place.admin, kafka_place.orders
    for user, name in ((wildcard, topic), ("web", wildcard)):
        with pytest.raises(ValueError, match="not the name of one"):
            kafka_secure.allow_producer(admin, user, name)
        with pytest.raises(ValueError, match="not the name of one"):
            kafka_secure.allow_consumer(admin, user, name, GROUP)
    with pytest.raises(ValueError, match="not the name of one"):
        kafka_secure.allow_consumer(admin, "web", topic, wildcard)


def test_kafka_forbidden_topic_looks_like_one_that_is_not_there(
    kafka_place: KafkaPlace,
) -> None:
    orders, payments = kafka_place.orders, kafka_place.payments
    settings = kafka_place.settings(kafka_place.user(consumes=orders))
    place = {"bootstrap_servers": kafka_place.server.bootstrap_servers}
    with KafkaConsumer(**place, **settings) as consumer:
        assert consumer.partitions_for_topic(orders) == {0}
        assert consumer.partitions_for_topic(payments) == set()
        with pytest.raises(TopicAuthorizationFailedError):
            consumer.beginning_offsets([TopicPartition(payments, 0)])


def test_kafka_user_without_a_name_is_refused(kafka_place: KafkaPlace) -> None:
    with pytest.raises(KafkaError, match="must not be empty"):
        kafka_secure.set_password(kafka_place.admin, "", SECRET)


@pytest.mark.usefixtures("kafka_environment")
def test_kafka_without_an_authorizer_says_so() -> None:
    with KafkaAdminClient(**kafka_tasks.settings()) as admin:
        with pytest.raises(SecurityDisabledError):
            kafka_secure.allow_producer(admin, "web", "orders")
        with pytest.raises(SecurityDisabledError):
            kafka_secure.allow_consumer(admin, "web", "orders", GROUP)
        with pytest.raises(SecurityDisabledError):
            kafka_secure.remove_user(admin, "web")


@claim(servers="kafka", since="0.9")
def test_kafka_group_needs_a_permission_of_its_own(kafka_place: KafkaPlace) -> None:
    """A Kafka user that may read a topic in one group is refused in every other."""
    topic = kafka_place.orders
    producer = kafka_place.settings(kafka_place.user(produces=topic))
    consumer = kafka_place.settings(kafka_place.user(consumes=topic))
    kafka_place.append(producer, topic)
    assert kafka_place.consume(consumer, topic) == 1
    with pytest.raises(GroupAuthorizationFailedError):
        kafka_place.consume(consumer, topic, "of-another-team")


@claim(servers="kafka", since="2.7")
def test_kafka_connection_outlives_its_password(kafka_place: KafkaPlace) -> None:
    """By default a Kafka connection stays good when its user's password is deleted."""
    topic = kafka_place.orders
    user = kafka_place.user(produces=topic)
    producer = kafka_place.producer(kafka_place.settings(user))
    producer.send(topic, b"1").get(PATIENCE_S)
    password = UserScramCredentialDeletion(user, "SCRAM-SHA-512")
    assert kafka_place.admin.alter_user_scram_credentials([password]) == {user: None}
    kafka_place.turns_away(kafka_place.settings(user), kafka_place.wrong_password)
    assert producer.send(topic, b"2").get(PATIENCE_S).offset == 1


def append_until_refused(producer: KafkaProducer, topic: str) -> None:
    """Append: the broker hears a moment after the controller that it is forbidden."""
    while True:
        producer.send(topic, b"2").get(PATIENCE_S)


@claim(servers="kafka", since="0.9")
def test_kafka_right_that_is_taken_away_is_gone_on_open_connections(
    kafka_place: KafkaPlace,
) -> None:
    """A Kafka ACL that is deleted ends what open connections may do."""
    topic = kafka_place.orders
    user = kafka_place.user(produces=topic)
    producer = kafka_place.producer(kafka_place.settings(user))
    producer.send(topic, b"1").get(PATIENCE_S)
    assert kafka_secure.remove_user(kafka_place.admin, user)
    with pytest.raises(TopicAuthorizationFailedError):
        append_until_refused(producer, topic)
