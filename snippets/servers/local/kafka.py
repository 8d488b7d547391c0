"""Kafka as local processes: jars, a Java runtime, and what makes them start fast."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kafka import KafkaConsumer, KafkaProducer

from snippets.servers.cache import cached
from snippets.servers.errors import ServersError
from snippets.servers.interface import Custom, Kafka
from snippets.servers.kafka_config import (
    FIRST_CONTROLLER_ID,
    JVM_HEAP,
    JVM_QUICK,
    Member,
    new_id,
    properties,
)
from snippets.servers.kafka_version import logged_version
from snippets.servers.local.jars import kafka_jars
from snippets.servers.local.java import java, version_text
from snippets.servers.local.process import NewHost, NewStorage, Process, Storage, loopback
from snippets.servers.ports import free_port
from snippets.servers.progress import progress
from snippets.servers.ready import until_kafka_answers
from snippets.servers.requirements import fingerprint, jars_of
from snippets.servers.run import current_run
from snippets.servers.versions import KAFKA, kafka_release

# Gives the port by which other nodes reach a port of a node, by the node's name.
Via = Callable[[str, int], int]

JVM = (*JVM_HEAP, *JVM_QUICK)
LOGGING = ("-Dorg.slf4j.simpleLogger.showDateTime=true",)

IDENTITY = "meta.properties"
# From Kafka 4.4 on, what to begin with is in this folder, and only for controllers
# (KIP-1170).
BEGINNING = "__cluster_metadata-0"
ARCHIVE = "classes.jsa"


def _java_command(version: str, *flags: str) -> list[str]:
    jars = os.pathsep.join(map(str, kafka_jars(version)))
    return [str(java()), *JVM, *LOGGING, *flags, "-classpath", jars]


def _name(version: str, content: str) -> str:
    """Return what a folder is called that depends on a version's jars."""
    return f"kafka-{version}-{fingerprint(jars_of(version))}-{content}"


def _template(version: str) -> Path:
    """Return a folder with what `kafka-storage format` writes that all nodes share."""
    return cached(_name(version, "formatted"), partial(_format, version)) / "data"


def _format(version: str, folder: Path) -> None:
    member = Member(
        node_id=1,
        roles=("broker", "controller"),
        client="127.0.0.1:9092",
        internal="127.0.0.1:19092",
        control="127.0.0.1:9093",
    )
    config = folder / "server.properties"
    data = folder / "data"
    _write_properties(config, properties(member, [member], {"log.dirs": str(data)}, {}))
    tool = ["kafka.tools.StorageTool", "format", "-t", new_id(), "-c", str(config)]
    done = subprocess.run(
        [*_java_command(version), *tool], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServersError(f"formatting Kafka's storage failed:\n{done.stderr}")
    (data / IDENTITY).unlink()


def archive() -> Path:
    """Return the class data archive with which a broker starts in half the time."""
    # An archive is good for one build of Java and one set of flags.
    made_for = f"{java()} {version_text(java())} {JVM}"
    key = hashlib.sha256(made_for.encode()).hexdigest()[:12]
    return cached(_name(KAFKA, f"classes-{key}"), _record_classes) / ARCHIVE


def warm_up(settings: Mapping[str, Any]) -> None:
    """Make a cluster load the classes by which it serves a producer and a group."""
    topic = "warm-up"
    with KafkaProducer(**settings) as producer:
        producer.send(topic, b"1").get(60)
    with KafkaConsumer(
        topic, group_id=topic, auto_offset_reset="earliest", **settings
    ) as consumer:
        next(consumer)


def _record_classes(folder: Path) -> None:
    command = _java_command(KAFKA, f"-XX:ArchiveClassesAtExit={folder / ARCHIVE}")
    with (
        progress("Recording which classes Kafka loads, once, so that it starts faster"),
        _cluster(KAFKA, 1, 0, Custom(), command) as server,
    ):
        warm_up(server.settings)
        server.brokers[0].stop()
    if not (folder / ARCHIVE).exists():
        raise ServersError(f"Java wrote no class archive:\n{server.brokers[0].logs()}")


def _write_properties(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def _members(brokers: int, controllers: int) -> list[Member]:
    roles = ("broker",) if controllers else ("broker", "controller")
    members = [
        Member(
            node_id=number,
            roles=roles,
            client=f"127.0.0.1:{free_port()}",
            internal=f"127.0.0.1:{free_port()}",
            control="" if controllers else f"127.0.0.1:{free_port()}",
        )
        for number in range(1, brokers + 1)
    ]
    for number in range(FIRST_CONTROLLER_ID, FIRST_CONTROLLER_ID + controllers):
        control = f"127.0.0.1:{free_port()}"
        members.append(Member(number, ("controller",), control=control))
    return members


def _moved(member: Member, host: str) -> Member:
    """Return a member that is at another address, on the same ports."""

    def to(address: str) -> str:
        return f"{host}:{address.rpartition(':')[2]}" if address else ""

    return replace(
        member,
        client=to(member.client),
        internal=to(member.internal),
        control=to(member.control),
    )


def _reached(member: Member, via: Via) -> Member:
    """Return a member that other nodes reach by other ports than its own."""

    def by(address: str) -> str:
        host, _, port = address.rpartition(":")
        return f"{host}:{via(member.name, int(port))}" if address else ""

    return replace(
        member, internal_via=by(member.internal), control_via=by(member.control)
    )


def _node(
    version: str,
    member: Member,
    members: Sequence[Member],
    cluster_id: str,
    custom: Custom,
    command: Sequence[str],
    storage: NewStorage | None,
) -> Process:
    folder = current_run().new_folder(member.name)
    place = storage(member.name) if storage else Storage(folder)
    data = place.folder / "data"
    left_out = () if "controller" in member.roles else (BEGINNING,)
    shutil.copytree(_template(version), data, ignore=shutil.ignore_patterns(*left_out))
    _write_properties(
        data / IDENTITY,
        {
            "version": "1",
            "cluster.id": cluster_id,
            "node.id": str(member.node_id),
            "directory.id": new_id(),
        },
    )
    config = {"log.dirs": str(data), **custom.config}
    settings = properties(member, members, config, custom.client)
    _write_properties(folder / "server.properties", settings)
    command = [*command, "kafka.Kafka", "server.properties"]
    return Process(member.name, command, folder, place.environment)


@contextmanager
def _cluster(
    version: str,
    brokers: int,
    controllers: int,
    custom: Custom,
    command: Sequence[str],
    storage: NewStorage | None = None,
    via: Via | None = None,
    host: NewHost = loopback,
) -> Iterator[Kafka]:
    members = _members(brokers, controllers)
    hosts = {each.name: host(each.name) for each in members}
    members = [_moved(each, hosts[each.name].address) for each in members]
    if via:
        members = [_reached(each, via) for each in members]
    cluster_id = new_id()
    nodes = [
        _node(
            version,
            each,
            members,
            cluster_id,
            custom,
            [*hosts[each.name].enter, *command],
            storage,
        )
        for each in members
    ]
    addresses = ",".join(each.client for each in members if each.client)
    settings = {**custom.client, "bootstrap_servers": addresses}

    def alive() -> None:
        for node in nodes:
            node.check_alive()

    try:
        for node in nodes:
            node.start()
        until_kafka_answers(settings, brokers=brokers, alive=alive)
        yield Kafka(
            way="local",
            version=logged_version(nodes[0].logs),
            bootstrap_servers=addresses,
            brokers=nodes[:brokers],
            controllers=nodes[brokers:],
            settings=settings,
        )
    finally:
        for node in nodes:
            node.end()
            current_run().forget(node.folder)


@contextmanager
def kafka(
    *,
    version: str | None = None,
    brokers: int,
    controllers: int,
    custom: Custom,
    storage: NewStorage | None = None,
    via: Via | None = None,
    host: NewHost = loopback,
) -> Iterator[Kafka]:
    """Run a cluster; see `snippets.servers.kafka`.

    Args:
        version: Which release; the one that the site is about if left out.
        brokers: How many brokers.
        controllers: How many nodes do nothing but control.
        custom: Broker settings, and how clients connect.
        storage: Where each node keeps its data; in the run's own folder if left out.
        via: By which ports the nodes reach each other; by their own if left out.
        host: Where each node is on the network.
    """
    release = kafka_release(version)
    quick: tuple[str, ...] = ()
    if release == KAFKA:
        # To record the classes pays only for the release that starts again and again.
        quick = (f"-XX:SharedArchiveFile={archive()}", "-Xlog:cds=error")
    command = _java_command(release, *quick)
    with _cluster(
        release, brokers, controllers, custom, command, storage, via, host
    ) as server:
        yield server
