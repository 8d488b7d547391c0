"""Which servers and libraries are asked, and how each is had."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import redis
import redis.asyncio
import valkey
import valkey.asyncio

from snippets.labs.record import Host
from snippets.labs.versions import kafka_probes, redis_probes
from snippets.labs.versions.libraries import aio, confluent, kafka_python, redis_py
from snippets.labs.versions.matrix import Column, fingerprint, today
from snippets.labs.versions.probe import Answer, Probe, Probes, Verdict
from snippets.labs.workspace import Workspace
from snippets.servers import kafka as kafka_server
from snippets.servers import redis as redis_server
from snippets.servers.errors import ServersError
from snippets.servers.versions import (
    KAFKA,
    KAFKA_RELEASES,
    OLDER_REDIS,
    REDIS,
    REDIS_RELEASES,
)

NAME = "versions"
QUESTION = "Which release of a server offers which feature, and which client library?"

Ask = Callable[[Probe[Any]], Answer]


@dataclass(frozen=True)
class Had:
    """A server that answers.

    Attributes:
        version: What it says that it is.
        way: How it was had.
        ask: Puts a probe to it.
    """

    version: str
    way: str
    ask: Ask


@dataclass(frozen=True)
class Planned:
    """A column of the matrix that is to be filled.

    Attributes:
        name: Such as `redis/8.2.3`.
        product: What is asked.
        version: Its version, as pinned.
        asked_with: What takes part, by name.
        probes: What it is asked.
        have: Starts what is needed.
    """

    name: str
    product: str
    version: str
    asked_with: Mapping[str, str]
    probes: Sequence[Probe[Any]]
    have: Callable[[], AbstractContextManager[Had]]

    def missing(self, place: Workspace) -> str | None:  # noqa: ARG002
        """Say nothing: whether it can be had shows when it is asked for."""
        return None

    def blank(self, host: Host) -> Column:
        """Return what a record says of it before any probe."""
        return Column(
            product=self.product,
            version=self.version,
            asked_with=dict(self.asked_with),
            host=host,
            date=today(),
            command=f"nox -s labs -- {NAME} --cell {self.name}",
            probes=fingerprint(self.probes),
        )


def _new_name() -> str:
    return f"probe-{uuid4().hex[:12]}"


def _asking(probes: Probes[Any], target: object) -> Ask:
    return lambda probe: probes.ask(probe, target, _new_name())


@contextmanager
def _redis(release: str) -> Iterator[Had]:
    with (
        redis_server(version=release) as server,
        redis_probes.client(server.url) as client,
    ):
        ask = _asking(redis_probes.PROBES, client)
        yield Had(server.version, server.way, ask)


@contextmanager
def _kafka(release: str) -> Iterator[Had]:
    with (
        kafka_server(version=release) as server,
        kafka_probes.connected(server.bootstrap_servers) as broker,
    ):
        ask = _asking(kafka_probes.PROBES, broker)
        yield Had(server.version, server.way, ask)


@contextmanager
def _redis_library(client: Any, client_async: Any) -> Iterator[Had]:
    with redis_server() as server:
        library = redis_py.Library(
            partial(client.from_url, server.url, decode_responses=True),
            partial(client_async.from_url, server.url),
        )
        yield Had(server.version, server.way, _asking(redis_py.PROBES, library))


@contextmanager
def _kafka_library(probes: Probes[str]) -> Iterator[Had]:
    with kafka_server() as server:
        ask = _asking(probes, server.bootstrap_servers)
        yield Had(server.version, server.way, ask)


def _library(
    package: str,
    server: Mapping[str, str],
    probes: Probes[Any],
    have: Callable[[], AbstractContextManager[Had]],
) -> Planned:
    return Planned(
        name=f"library/{package}",
        product=package,
        version=version(package),
        asked_with=server,
        probes=list(probes),
        have=have,
    )


def _age(release: str) -> tuple[bool, list[int]]:
    """Return by what releases are sorted: Valkey after Redis, then by their numbers."""
    number = release.removeprefix("valkey-")
    return number != release, [int(part) for part in number.split(".")]


@dataclass(frozen=True)
class VersionsPlan:
    """All that the lab is to ask.

    Attributes:
        name: The lab's name, which is also its record's.
        question: What it is to answer.
        cells: The columns of the matrix.
    """

    name: str
    question: str
    cells: Sequence[Planned]


def full() -> VersionsPlan:
    """Return all that is asked."""
    with_redis_py = {"redis-py": version("redis")}
    both = {name: version(name) for name in ("kafka-python", "confluent-kafka")}
    on_redis, on_kafka = {"Redis": REDIS}, {"Kafka": KAFKA}
    planned = [
        Planned(
            name=f"redis/{release}",
            product="Valkey" if release.startswith("valkey-") else "Redis",
            version=release.removeprefix("valkey-"),
            asked_with=with_redis_py,
            probes=list(redis_probes.PROBES),
            have=partial(_redis, release),
        )
        for release in sorted(REDIS_RELEASES | OLDER_REDIS, key=_age)
    ]
    planned += [
        Planned(
            name=f"kafka/{release}",
            product="Kafka",
            version=release,
            asked_with=both,
            probes=list(kafka_probes.PROBES),
            have=partial(_kafka, release),
        )
        for release in sorted(KAFKA_RELEASES, key=_age)
    ]
    ours = partial(_redis_library, redis.Redis, redis.asyncio.Redis)
    fork = partial(_redis_library, valkey.Valkey, valkey.asyncio.Valkey)
    planned += [
        _library("redis", on_redis, redis_py.PROBES, ours),
        _library("valkey", on_redis, redis_py.PROBES, fork),
    ]
    planned += [
        _library(package, on_kafka, probes, partial(_kafka_library, probes))
        for package, probes in (
            ("kafka-python", kafka_python.PROBES),
            ("confluent-kafka", confluent.PROBES),
            ("aiokafka", aio.PROBES),
        )
    ]
    return VersionsPlan(NAME, QUESTION, planned)


QUICK = (f"redis/{REDIS}", "redis/8.2.3", f"kafka/{KAFKA}", "library/redis")


def quick(place: Workspace) -> VersionsPlan:  # noqa: ARG001 - it needs no disks
    """Return the newest servers and an old one, which start in no time."""
    return VersionsPlan(
        NAME, QUESTION, [each for each in full().cells if each.name in QUICK]
    )


def expected(probe: Probe[Any], product: str, release: str) -> Verdict | None:
    """Return what a release must answer, if `since` and `until` are true.

    Args:
        probe: The probe.
        product: What is asked. A fork has releases of its own, and a library too: None.
        release: Its version.
    """
    if probe.baseline:
        return Verdict.YES
    if product not in {"Redis", "Kafka"} or not probe.since:
        return None

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(".")]

    there = numbers(release) >= numbers(probe.since)
    gone = bool(probe.until) and numbers(release) >= numbers(probe.until)
    return Verdict.YES if there and not gone else Verdict.NO


def problems(planned: Sequence[Planned], columns: Mapping[str, Column]) -> list[str]:
    """Return what is not as it must be.

    Args:
        planned: What was to be asked.
        columns: What is recorded.
    """
    found = []
    for each in planned:
        column = columns.get(each.name)
        if column is None or column.not_run:
            continue
        for probe in each.probes:
            answer = column.answers[probe.name]
            wanted = expected(probe, column.product, column.version)
            if answer.verdict is Verdict.FAILED:
                found.append(f"{each.name}/{probe.name} could not tell: {answer.said}")
            elif wanted not in {None, answer.verdict}:
                found.append(
                    f"{each.name}/{probe.name} says {answer.verdict}, and not {wanted}: "
                    f"{answer.said or 'it is there'}"
                )
    return found


def one_sided(planned: Sequence[Planned], columns: Mapping[str, Column]) -> list[str]:
    """Return the probes that only ever said one thing: they may not be able to tell.

    Args:
        planned: What was to be asked.
        columns: What is recorded.
    """
    heard: dict[str, set[Verdict]] = {}
    baseline = set()
    for each in planned:
        kind = each.name.partition("/")[0]
        for probe in each.probes:
            name = f"{kind}/{probe.name}"
            heard.setdefault(name, set())
            if probe.baseline:
                baseline.add(name)
            if answer := columns[each.name].answers.get(probe.name):
                heard[name].add(answer.verdict)
    return [
        f"{name} says only {', '.join(sorted(said)) or 'nothing'}"
        for name, said in heard.items()
        if not said >= ({Verdict.YES} if name in baseline else {Verdict.YES, Verdict.NO})
    ]


def check(had: Had, planned: Planned) -> None:
    """Look whether what answers is what was planned.

    Raises:
        ServersError: It is another version.
    """
    answered = had.version.removeprefix("valkey-")
    if not planned.name.startswith("library/") and answered != planned.version:
        raise ServersError(f"{planned.name} is to be asked, and {answered} answers")
