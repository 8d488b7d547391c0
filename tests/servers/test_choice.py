"""The way to a server is chosen as documented; what can't work says so at once."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from snippets import servers
from snippets.servers import ServersError, Way, choose, external
from snippets.servers.local.java import major_version
from snippets.servers.local.redis_programs import programs
from snippets.servers.versions import redis_release

ROOT = Path(__file__).parents[2]


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let no container engine be found."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up a server of yours sooner."""
    monkeypatch.setattr(external, "PATIENCE_S", 0.5)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        yield port


@pytest.mark.usefixtures("no_engine")
def test_without_an_engine_and_an_address_servers_are_local() -> None:
    assert choose("redis", {}) is Way.LOCAL


def test_an_address_means_yours() -> None:
    environ = {"REDIS_URL": "redis://127.0.0.1:1"}
    assert choose("redis", environ) is Way.EXTERNAL


@pytest.mark.parametrize("way", list(Way))
def test_a_forced_way_is_taken(way: Way) -> None:
    environ = {"SERVERS": str(way), "REDIS_URL": "redis://127.0.0.1:1"}
    assert choose("redis", environ) is way


def test_an_unknown_way_is_an_error() -> None:
    with pytest.raises(
        ServersError, match=r"SERVERS=docker .* local, containers, external"
    ):
        choose("redis", {"SERVERS": "docker"})


@pytest.mark.usefixtures("no_engine")
@pytest.mark.parametrize("start", [servers.redis, servers.kafka])
def test_containers_without_an_engine_are_an_error(start: type) -> None:
    with pytest.raises(ServersError, match="engine"), start(way=Way.CONTAINERS):
        pytest.fail("it has started")


@pytest.mark.parametrize(
    ("start", "variable"),
    [(servers.redis, "REDIS_URL"), (servers.kafka, "KAFKA_BOOTSTRAP_SERVERS")],
)
def test_yours_without_an_address_is_an_error(
    start: type, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(ServersError, match=variable), start(way=Way.EXTERNAL):
        pytest.fail("it has started")


@pytest.mark.parametrize(
    ("start", "variable", "address"),
    [
        (servers.redis, "REDIS_URL", "redis://127.0.0.1:1"),
        (servers.redis, "REDIS_URL", "127.0.0.1:6379"),
        (servers.kafka, "KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        (servers.kafka, "KAFKA_BOOTSTRAP_SERVERS", "no-port"),
    ],
)
def test_a_wrong_address_is_named_with_its_variable(
    start: type, variable: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address)
    with (
        pytest.raises(ServersError, match=f"{variable}={address} does not work"),
        start(way=Way.EXTERNAL),
    ):
        pytest.fail("it has started")


@pytest.mark.parametrize(
    ("start", "variable", "scheme"),
    [
        (servers.redis, "REDIS_URL", "redis://"),
        (servers.kafka, "KAFKA_BOOTSTRAP_SERVERS", ""),
    ],
)
def test_a_server_that_says_nothing_is_given_up(
    start: type,
    variable: str,
    scheme: str,
    silent_port: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{silent_port}")
    with pytest.raises(ServersError, match=variable), start(way=Way.EXTERNAL):
        pytest.fail("it has started")


def test_a_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://ann:hunter2@127.0.0.1:1")
    with (
        pytest.raises(ServersError) as raised,
        servers.redis(way=Way.EXTERNAL),
    ):
        pytest.fail("it has started")
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    "options",
    [
        {"config": {"appendonly": "yes"}},
        {"replicas": 1},
        {"masters": 3},
        {"version": "6.2.14"},
    ],
)
def test_yours_cannot_be_configured(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    with (
        pytest.raises(ServersError, match="SERVERS=local"),
        servers.redis(way=Way.EXTERNAL, **options),
    ):
        pytest.fail("it has started")


@pytest.mark.parametrize("way", [Way.LOCAL, Way.CONTAINERS])
def test_a_release_that_no_way_has_is_named_with_those_there_are(way: Way) -> None:
    with (
        pytest.raises(ServersError, match=r"no Redis 4\.0\.1 .* 6\.2\.14"),
        servers.redis(version="4.0.1", way=way),
    ):
        pytest.fail("it has started")


@pytest.mark.parametrize("way", [Way.LOCAL, Way.CONTAINERS])
def test_a_kafka_that_no_way_has_is_named_with_those_there_are(way: Way) -> None:
    with (
        pytest.raises(ServersError, match=r"no Kafka 2\.0\.0 .* 3\.9\.2"),
        servers.kafka(version="2.0.0", way=way),
    ):
        pytest.fail("it has started")


def test_a_kafka_of_yours_has_the_release_that_it_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    with (
        pytest.raises(ServersError, match="of a certain release"),
        servers.kafka(version="3.9.2", way=Way.EXTERNAL),
    ):
        pytest.fail("it has started")


def test_a_machine_without_apt_is_told_where_an_older_redis_is_from(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("snippets.servers.cache.root", lambda: tmp_path)
    with pytest.raises(ServersError, match=r"7\.0\.15 .*apt-get and dpkg-deb can't be"):
        programs(redis_release("7.0.15"))


@pytest.mark.parametrize("processes", ["0", "2"])
def test_a_run_on_a_wrong_address_ends_at_once_with_one_error(processes: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/tasks", "-q", "-n", processes],
        cwd=ROOT,
        env={"SERVERS": "external", "REDIS_URL": "redis://127.0.0.1:1", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode != 0
    assert "KAFKA_BOOTSTRAP_SERVERS" in run.stdout + run.stderr
    assert "passed" not in run.stdout


def test_a_machine_without_compiler_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("snippets.servers.cache.root", lambda: tmp_path)
    with pytest.raises(ServersError, match=r"cc and make can't .*apt-get install"):
        programs(redis_release(None))
    assert not list(tmp_path.glob("redis-*[0-9a-f]"))


def test_a_machine_without_openssl_is_told_what_tls_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("snippets.servers.cache.root", lambda: tmp_path)
    with (
        pytest.raises(ServersError, match=r"with TLS .*apt-get install libssl-dev"),
        servers.redis(client={"ssl_ca_certs": "ca.pem"}, way=Way.LOCAL),
    ):
        pytest.fail("it has started")


@pytest.mark.parametrize(
    ("printed", "major"),
    [
        ('openjdk version "17.0.15" 2025-04-15', 17),
        ('openjdk version "25" 2025-09-16', 25),
        ('java version "1.8.0_392"', 1),
        ("command not found", 0),
    ],
)
def test_java_version_is_read_from_what_it_prints(printed: str, major: int) -> None:
    assert major_version(printed) == major
