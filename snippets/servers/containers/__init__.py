"""Servers as containers of the official images, on the container engine that answers.

This module loads next to nothing: every run asks it whether an engine answers.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snippets.servers.errors import ServersError
from snippets.servers.interface import Custom, Kafka, Redis

__all__ = ["engine_answers", "kafka", "redis"]

ADDRESS = "unix:///var/run/docker.sock"


def address() -> str:
    """Return where the engine should listen; empty if a Docker context knows."""
    if host := os.environ.get("DOCKER_HOST"):
        return host
    folder = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
    config = Path(folder, "config.json")
    # `docker context use` leaves its choice there, as Docker Desktop and Colima do.
    if os.environ.get("DOCKER_CONTEXT") or (
        config.exists() and '"currentContext"' in config.read_text(errors="replace")
    ):
        return ""
    return ADDRESS


def sign_of_engine() -> bool:
    """Tell whether it is worth asking the engine: something may listen there."""
    kind, _, path = address().partition("://")
    if kind != "unix":
        return True
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(path)
    except OSError:
        return False
    return True


def engine_answers() -> bool:
    """Tell whether a container engine of this machine answers."""
    if not sign_of_engine():
        return False
    from snippets.servers.containers.engine import connect

    try:
        with connect():
            return True
    except ServersError:
        return False


@contextmanager
def redis(
    *, version: str | None, masters: int, replicas: int, custom: Custom
) -> Iterator[Redis]:
    """Run masters with their replicas; see `snippets.servers.redis`."""
    from snippets.servers.containers.redis_nodes import nodes_of
    from snippets.servers.versions import redis_release

    with nodes_of(
        redis_release(version), masters=masters, replicas=replicas, custom=custom
    ) as server:
        yield server


@contextmanager
def kafka(
    *, version: str | None, brokers: int, controllers: int, custom: Custom
) -> Iterator[Kafka]:
    """Run a cluster; see `snippets.servers.kafka`."""
    from snippets.servers.containers.kafka_nodes import cluster, members_of
    from snippets.servers.versions import kafka_image, kafka_release

    members, image = members_of(brokers, controllers), kafka_image(kafka_release(version))
    with cluster(members, custom, image=image) as server:
        yield server
