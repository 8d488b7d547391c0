"""Real servers for the tests, and the record of what the tests prove."""

import datetime as dt
import logging
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict
from functools import cache, partial
from itertools import chain
from typing import Any

import pytest
import redis as redis_py
from kafka import KafkaProducer

from snippets import kafka as kafka_task
from snippets import redis_streams
from snippets.servers import Kafka, Redis, ServersError, Way
from tests.clients import client
from tests.ledger import HELD, Claim, Recorder, sentence_of
from tests.measured import proof_of
from tests.running import Servers

# Fixtures that start servers beside the shared ones, and those for a secured one.
OWN = {
    "own_redis": "redis",
    "redis_cluster": "redis",
    "redis_of": "redis",
    "own_kafka": "kafka",
}
SECURE = {"secure_redis": "redis", "secure_kafka": "kafka"}
SHARED = {"redis_server": "redis", "kafka_server": "kafka"}

SERVERS = pytest.StashKey[Servers]()

# What the shared servers have said of themselves.
ANSWERS = pytest.StashKey[dict[str, str]]()

# The server of its own that a test has started last.
ANSWERED = pytest.StashKey[Redis | Kafka]()


def pytest_configure(config: pytest.Config) -> None:
    """Choose the way to the servers; a wish that can't be met ends the run here."""
    # A consumer closed while it reads logs an error that can't be formatted, which
    # pytest takes for a failure of the test. The servers' logs tell more.
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        config.stash[SERVERS] = Servers()
    except ServersError as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[ANSWERS] = {}
    if config.getoption("update_examples") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder())


def _needed(items: Iterable[pytest.Item], fixtures: dict[str, str]) -> set[str]:
    names = chain.from_iterable(getattr(item, "fixturenames", ()) for item in items)
    return {fixtures[name] for name in names if name in fixtures}


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what can't work on servers of yours."""
    servers = config.stash[SERVERS]
    yours = {system for system, way in servers.ways.items() if way is Way.EXTERNAL}
    left_out = [item for item in items if _needed([item], OWN | SECURE) & yours]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start the shared servers, so that no test is charged for it."""
    config = session.config
    systems = sorted(_needed(session.items, SHARED))
    servers = config.stash[SERVERS]
    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    try:
        with capture.global_and_fixture_disabled():
            servers.start(systems)
    except ServersError as error:
        # The head of pytest-xdist hears of it only in this way.
        session.shouldfail = str(error)
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)
    for system in systems:
        server = servers.shared(system)
        config.stash[ANSWERS][system] = (
            f"{system} {server.version} ({server.way}), {client(system)}"
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a process of pytest-xdist, tell its head which servers have answered."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["answers"] = session.config.stash[ANSWERS]


def pytest_testnodedown(node: Any) -> None:
    """Hear from a process of pytest-xdist which servers have answered."""
    node.config.stash[ANSWERS] |= getattr(node, "workeroutput", {}).get("answers", {})


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Tell which versions have answered, and what was left out."""
    for _, answer in sorted(config.stash[ANSWERS].items()):
        terminalreporter.write_line(answer)
    if Way.EXTERNAL in config.stash[SERVERS].ways.values():
        terminalreporter.write_line(
            "left out: tests that start, configure or kill servers of their own"
        )


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the shared servers."""
    if SERVERS in config.stash:
        config.stash[SERVERS].close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on each claim's report what has held; show the servers' logs on a failure."""
    report = yield
    servers = item.config.stash[SERVERS]
    mark = item.get_closest_marker("claim")
    if report.failed:
        if _needed([item], OWN | SECURE | SHARED):
            report.sections += servers.logs()
    elif mark and call.when == "call" and isinstance(item, pytest.Function):
        system = mark.kwargs["servers"]
        if cells := mark.kwargs["cells"]:
            proof: dict[str, Any] = proof_of(system, mark.kwargs["lab"], cells)
        else:
            answered = item.stash.get(ANSWERED, None) or servers.shared(system)
            proof = {
                "server": f"{system.capitalize()} {answered.version} ({answered.way})",
                "client": client(mark.kwargs["client"]),
                "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
            }
        held = Claim(
            sentence=sentence_of(item.function),
            system=system,
            since=mark.kwargs["since"],
            test=item.path.relative_to(item.config.rootpath).as_posix(),
            **proof,
        )
        report.user_properties.append((HELD, asdict(held)))
    return report


@contextmanager
def _own(
    request: pytest.FixtureRequest, system: str, **options: object
) -> Iterator[Redis | Kafka]:
    with request.config.stash[SERVERS].own(system, **options) as server:
        request.node.stash[ANSWERED] = server
        yield server


@pytest.fixture
def own_redis(
    request: pytest.FixtureRequest,
) -> Callable[..., AbstractContextManager[Redis]]:
    """Start a Redis that this test may configure and kill; see `snippets.servers`."""
    return partial(_own, request, "redis")  # type: ignore[return-value]


@pytest.fixture
def own_kafka(
    request: pytest.FixtureRequest,
) -> Callable[..., AbstractContextManager[Kafka]]:
    """Start a Kafka that this test may configure and kill; see `snippets.servers`."""
    return partial(_own, request, "kafka")  # type: ignore[return-value]


@pytest.fixture(scope="session")
def redis_of(pytestconfig: pytest.Config) -> Iterator[Callable[[str], Redis]]:
    """Give the Redis of a release, which the tests share."""
    with ExitStack() as stack:

        @cache
        def give(version: str) -> Redis:
            own = pytestconfig.stash[SERVERS].own("redis", version=version)
            server = stack.enter_context(own)
            assert isinstance(server, Redis)
            return server

        yield give


@pytest.fixture(scope="session")
def redis_cluster(pytestconfig: pytest.Config) -> Iterator[Redis]:
    """A Redis Cluster of three masters that the tests share."""
    with pytestconfig.stash[SERVERS].own("redis", masters=3) as server:
        assert isinstance(server, Redis)
        yield server


@pytest.fixture
def cluster(redis_cluster: Redis) -> Iterator[redis_py.RedisCluster]:
    """A client of that cluster, which is empty before each test."""
    with redis_py.RedisCluster.from_url(
        redis_cluster.url, decode_responses=True
    ) as client:
        yield client
        client.flushall(target_nodes=client.PRIMARIES)


@pytest.fixture(scope="session")
def redis_server(pytestconfig: pytest.Config) -> Redis:
    """The Redis that all tests share."""
    server = pytestconfig.stash[SERVERS].shared("redis")
    assert isinstance(server, Redis)
    return server


@pytest.fixture(scope="session")
def kafka_server(pytestconfig: pytest.Config) -> Kafka:
    """The Kafka that all tests share."""
    server = pytestconfig.stash[SERVERS].shared("kafka")
    assert isinstance(server, Kafka)
    return server


@pytest.fixture
def secure_redis(request: pytest.FixtureRequest) -> Redis:
    """A Redis with TLS and passwords, which the tests that need one share."""
    server = request.config.stash[SERVERS].shared("secure_redis")
    assert isinstance(server, Redis)
    request.node.stash[ANSWERED] = server
    return server


@pytest.fixture
def secure_kafka(request: pytest.FixtureRequest) -> Kafka:
    """A Kafka with TLS, passwords and ACLs, which the tests that need one share."""
    server = request.config.stash[SERVERS].shared("secure_kafka")
    assert isinstance(server, Kafka)
    request.node.stash[ANSWERED] = server
    return server


@pytest.fixture
def redis(
    redis_server: Redis, monkeypatch: pytest.MonkeyPatch
) -> Iterator[redis_py.Redis]:
    """A client of the shared Redis, which the snippets find too."""
    for name, value in redis_server.environment().items():
        monkeypatch.setenv(name, value)
    with redis_streams.connect() as client:
        yield client


@pytest.fixture
def stream(redis: redis_py.Redis) -> Iterator[str]:
    """The name of a stream that only this test uses."""
    with redis_streams.temporary_stream(redis) as name:
        yield name


@pytest.fixture
def kafka_environment(kafka_server: Kafka, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the snippets find the shared Kafka."""
    for name, value in kafka_server.environment().items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def topic(kafka_environment: None) -> Iterator[str]:  # noqa: ARG001
    """The name of a topic of one partition that only this test uses."""
    with kafka_task.temporary_topic() as name:
        yield name


@pytest.fixture
def producer(kafka_environment: None) -> Iterator[KafkaProducer]:  # noqa: ARG001
    """A producer for the shared Kafka, with kafka-python's defaults."""
    with KafkaProducer(**kafka_task.settings()) as producer:
        yield producer
