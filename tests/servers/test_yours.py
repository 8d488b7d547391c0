"""A server of yours that asks for TLS and a password is reached as documented."""

import pytest

from snippets import kafka as kafka_tasks
from snippets import redis_streams, servers
from snippets.servers import ServersError, Way, external

GUESSED = "a-lucky-guess"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a server of yours sooner."""
    monkeypatch.setattr(external, "PATIENCE_S", 2.0)


@pytest.fixture
def yours(
    secure_redis: servers.Redis,
    secure_kafka: servers.Kafka,
    monkeypatch: pytest.MonkeyPatch,
) -> dict[str, str]:
    """The variables that name both secured servers, which are set."""
    variables = {**secure_redis.environment(), **secure_kafka.environment()}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def test_your_redis_is_reached_with_tls_and_a_password(
    secure_redis: servers.Redis, yours: dict[str, str]
) -> None:
    with servers.redis(way=Way.EXTERNAL) as server:
        assert server.version == secure_redis.version
        assert server.environment() == {"REDIS_URL": yours["REDIS_URL"]}
        with redis_streams.connect() as redis:
            assert redis.acl_whoami() == "default"


def test_your_kafka_is_reached_with_tls_and_a_password(
    secure_kafka: servers.Kafka, yours: dict[str, str]
) -> None:
    with servers.kafka(way=Way.EXTERNAL) as server:
        assert secure_kafka.version.startswith(server.version)
        assert server.environment().items() <= yours.items()
        with kafka_tasks.temporary_topic() as topic:
            assert topic


@pytest.mark.usefixtures("yours")
def test_a_wrong_password_for_your_redis_is_told(
    secure_redis: servers.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = secure_redis.url.partition("@")[2]
    monkeypatch.setenv("REDIS_URL", f"rediss://default:{GUESSED}@{host}")
    with (
        pytest.raises(
            ServersError, match=r"REDIS_URL=.* invalid username-password"
        ) as told,
        servers.redis(way=Way.EXTERNAL),
    ):
        pytest.fail("it has been let in")
    assert GUESSED not in str(told.value)


@pytest.mark.usefixtures("yours")
def test_a_wrong_password_for_your_kafka_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", GUESSED)
    with (
        pytest.raises(
            ServersError,
            match=r"KAFKA_BOOTSTRAP_SERVERS=.* Authentication failed: Invalid",
        ) as told,
        servers.kafka(way=Way.EXTERNAL),
    ):
        pytest.fail("it has been let in")
    assert GUESSED not in str(told.value)


@pytest.mark.usefixtures("yours")
def test_an_authority_that_is_not_named_is_told(
    secure_redis: servers.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", secure_redis.url.partition("?")[0])
    monkeypatch.delenv("KAFKA_SSL_CAFILE")
    for start in (servers.redis, servers.kafka):
        with (
            pytest.raises(ServersError, match=r"(?i)certificate.verify.failed"),
            start(way=Way.EXTERNAL),
        ):
            pytest.fail("it has been let in")


def test_yours_cannot_be_secured(yours: dict[str, str]) -> None:
    assert yours
    with (
        pytest.raises(ServersError, match="SERVERS=local"),
        servers.redis(client={"password": GUESSED}, way=Way.EXTERNAL),
    ):
        pytest.fail("it has started")
