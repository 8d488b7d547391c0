"""Have the images: pulled, or built here where they can't be pulled.

`python -m snippets.servers.containers.images [--force]` leaves alone what the engine has,
unless forced to build. What is built goes by the names of the official images and takes
the same variables and arguments, but isn't them: a label says so.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import cast

from docker import DockerClient
from docker.errors import APIError

from snippets.servers.containers.engine import connect, engine_errors, has, pull
from snippets.servers.containers.kafka_nodes import cluster, members_of
from snippets.servers.containers.node import ContainerNode
from snippets.servers.containers.rootfs import Rootfs, new_rootfs
from snippets.servers.errors import ServersError
from snippets.servers.interface import Custom
from snippets.servers.local.jars import kafka_jars
from snippets.servers.local.java import java_of_the_wheel
from snippets.servers.local.kafka import warm_up
from snippets.servers.local.redis_programs import BUILT, programs
from snippets.servers.progress import progress
from snippets.servers.versions import KAFKA as RELEASE
from snippets.servers.versions import KAFKA_IMAGE, REDIS_RELEASES, RedisRelease, Sdist

FILES = Path(__file__).with_name("image")
# A change to what an image is made of changes this text, too: an older one is built anew.
ORIGIN = "Built from packages, Redis with TLS; not the official image"
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DESCRIPTION = "org.opencontainers.image.description"
LABEL = f"LABEL {DESCRIPTION}='{ORIGIN}'"

REDIS_USER = 999
REDIS = (
    LABEL,
    'ENTRYPOINT ["docker-entrypoint.sh"]',
    f"ENV PATH={SYSTEM_PATH}",
    "EXPOSE 6379",
    "USER redis",
    'VOLUME ["/data"]',
    "WORKDIR /data",
)

KAFKA_USER = 1000
JAVA = "opt/java/openjdk"
KAFKA = (
    LABEL,
    'CMD ["/etc/kafka/docker/run"]',
    f"ENV PATH=/{JAVA}/bin:{SYSTEM_PATH} JAVA_HOME=/{JAVA} LANG=C.UTF-8",
    "EXPOSE 9092",
    "USER appuser",
    'VOLUME ["/etc/kafka/secrets","/var/lib/kafka/data","/mnt/shared/config"]',
)
KAFKA_FOLDERS = (
    *("etc/kafka", "etc/kafka/docker", "etc/kafka/secrets", "mnt/shared/config"),
    *("opt/kafka", "opt/kafka/bin", "opt/kafka/config", "opt/kafka/libs"),
    *("var/lib/kafka", "var/lib/kafka/data"),
)
ARCHIVES = ("storage.jsa", "kafka.jsa")


@contextmanager
def _imported(
    engine: DockerClient,
    image: str,
    changes: Sequence[str],
    *users: tuple[str, int, str],
) -> Iterator[Rootfs]:
    """Give a root file system to fill, and make it an image."""
    with progress(f"Building {image}"), tempfile.TemporaryDirectory() as scratch:
        archive = Path(scratch, "rootfs.tar")
        with new_rootfs(archive, users) as rootfs:
            yield rootfs
        repository, _, tag = image.partition(":")
        with engine_errors(f"import {image}"):
            engine.api.import_image_from_file(
                str(archive), repository=repository, tag=tag, changes=list(changes)
            )


def build_redis(release: RedisRelease, engine: DockerClient) -> None:
    """Build an image of a Redis that runs as a local process, too."""
    folder = programs(release, tls=isinstance(release.package, Sdist))
    changes = (*REDIS, f'CMD ["{release.program}"]')
    user = ("redis", REDIS_USER, "/data")
    with _imported(engine, release.image, changes, user) as rootfs:
        rootfs.folder("data", owner=REDIS_USER)
        for program in sorted({release.program, *BUILT}):
            if (folder / program).exists():
                rootfs.file(f"usr/local/bin/{program}", folder / program)
                rootfs.libraries(folder / program)
        if release.program not in BUILT:
            # The image of Valkey goes by the old name, too.
            rootfs.link(f"usr/local/bin/{BUILT[0]}", release.program)
        script = "docker-entrypoint.sh"
        rootfs.file(f"usr/local/bin/{script}", FILES / "redis" / script, mode=0o755)


def build_kafka(engine: DockerClient) -> None:
    """Build an image of the Kafka that runs as a local process, too; it brings Java."""
    bare = f"{KAFKA_IMAGE}-bare"
    _build_bare_kafka(engine, bare)
    try:
        with progress("Recording which classes Kafka loads, so that it starts faster"):
            _add_to_image(engine, bare, _record_classes(bare), KAFKA_IMAGE)
    finally:
        engine.images.remove(bare)


def _add_to_image(
    engine: DockerClient, image: str, archives: Sequence[bytes], result: str
) -> None:
    with engine_errors(f"make {result}"):
        container = engine.containers.create(image)
        try:
            for archive in archives:
                container.put_archive("/opt/kafka", archive)
            repository, _, tag = result.partition(":")
            container.commit(repository, tag)
        finally:
            container.remove(v=True)


def _build_bare_kafka(engine: DockerClient, image: str) -> None:
    java, jars = java_of_the_wheel(), kafka_jars(RELEASE)
    user = ("appuser", KAFKA_USER, "/home/appuser")
    with _imported(engine, image, KAFKA, user) as rootfs:
        for folder in KAFKA_FOLDERS:
            rootfs.folder(folder, owner=KAFKA_USER)
        rootfs.file(JAVA, java.parent.parent)
        for jar in jars:
            rootfs.file(f"opt/kafka/libs/{jar.name}", jar)
        for path, mode in (
            ("etc/kafka/docker/run", 0o755),
            ("etc/kafka/docker/server.properties", 0o644),
            ("opt/kafka/bin/kafka-run-class.sh", 0o755),
        ):
            source = FILES / "kafka" / Path(path).name
            rootfs.file(path, source, owner=KAFKA_USER, mode=mode)


def _record_classes(image: str) -> list[bytes]:
    """Run a broker and return the archives that its virtual machines leave behind."""
    members = members_of(brokers=1, controllers=0)
    option = "-XX:+AutoCreateSharedArchive"
    with cluster(members, Custom(), image=image, java_options=option) as server:
        warm_up(server.settings)
        node = cast("ContainerNode", server.brokers[0])
        node.stop()
        container = node.container
        return [
            b"".join(container.get_archive(f"/opt/kafka/{archive}")[0])
            for archive in ARCHIVES
        ]


BUILDERS: dict[str, Callable[[DockerClient], None]] = {
    **{each.image: partial(build_redis, each) for each in REDIS_RELEASES.values()},
    KAFKA_IMAGE: build_kafka,
}


def _outdated(engine: DockerClient, image: str) -> bool:
    """Tell whether an image was built here, and otherwise than it would be now."""
    origin = str(engine.images.get(image).labels.get(DESCRIPTION, ""))
    return origin.startswith("Built from packages") and origin != ORIGIN


def _pulled(engine: DockerClient, image: str) -> bool:
    try:
        pull(engine, image)
    except ServersError as error:
        print(error, file=sys.stderr)
        return False
    return True


def main() -> None:
    """Read the command line, and have the images."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--force", action="store_true", help="build what is there, too")
    force = parser.parse_args().force
    with connect() as engine:
        for image, build in BUILDERS.items():
            there = has(engine, image) and not _outdated(engine, image)
            if force or not (there or _pulled(engine, image)):
                replaced = engine.images.list(image)
                build(engine)
                for old in replaced:
                    # It stays as long as a container runs it.
                    with suppress(APIError):
                        engine.images.remove(str(old.id))
            print(f"{image} is there")


if __name__ == "__main__":
    try:
        main()
    except ServersError as error:
        raise SystemExit(str(error)) from error
