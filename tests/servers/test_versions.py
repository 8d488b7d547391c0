"""Every place that names a version names the pinned one."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from snippets.servers import Kafka, Redis
from snippets.servers.requirements import jars_of
from snippets.servers.versions import (
    KAFKA,
    KAFKA_IMAGE,
    KAFKA_RELEASES,
    REDIS,
    REDIS_IMAGE,
)

ROOT = Path(__file__).parents[2]


def test_the_pinned_versions_answer(redis_server: Redis, kafka_server: Kafka) -> None:
    assert redis_server.version == REDIS
    assert kafka_server.version == KAFKA


def test_compose_keeps_the_pinned_images() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    images = {service["image"] for service in services.values()}
    assert images == {REDIS_IMAGE, KAFKA_IMAGE}


def test_compose_publishes_on_loopback_only() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ports = [port for service in services.values() for port in service["ports"]]
    assert ports
    assert all(re.match(r"127\.0\.0\.1:\d+:\d+$", port) for port in ports)


@pytest.mark.parametrize("version", KAFKA_RELEASES)
def test_the_locked_jars_are_of_their_version(version: str) -> None:
    lock = tomllib.loads(jars_of(version).read_text())
    jars = [jar for jar in lock["dependencies"] if jar["groupId"] == "org.apache.kafka"]
    assert {jar["version"] for jar in jars} == {version}
    assert all(
        re.fullmatch(r"[0-9a-f]{64}", jar["sha256"]) for jar in lock["dependencies"]
    )


def test_no_lock_names_a_registry() -> None:
    locks = [*(ROOT / "requirements").glob("*.txt"), *map(jars_of, KAFKA_RELEASES)]
    named = [lock.name for lock in locks if re.search(r"https?://", lock.read_text())]
    assert named == []
