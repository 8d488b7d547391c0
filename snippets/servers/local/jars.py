"""The jars of a Kafka broker, from Maven Central, each checked against its hash."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from jgo.env import LockFile
from jgo.maven import MavenContext

from snippets.servers.cache import cached
from snippets.servers.errors import ServersError
from snippets.servers.progress import progress
from snippets.servers.requirements import fingerprint, jars_of

DOWNLOADS = 8


def kafka_jars(version: str) -> list[Path]:
    """Return the jars in the order of the lock file, fetched at the first call.

    Args:
        version: The version of Kafka.

    Raises:
        ServersError: A download fails, or a jar is not the one that was locked.
    """
    lock = jars_of(version)
    folder = cached(f"kafka-{version}-{fingerprint(lock)}", partial(_fetch, version))
    locked = LockFile.load(lock).dependencies
    return [folder / f"{jar.artifactId}-{jar.version}.jar" for jar in locked]


def _fetch(version: str, folder: Path) -> None:
    repository = folder / "repository"
    maven = MavenContext(repo_cache=repository)
    lock = LockFile.load(jars_of(version))

    def fetch(coordinate: str) -> None:
        jar = maven.create_dependency(coordinate).artifact.resolve()
        shutil.copyfile(jar, folder / jar.name)

    coordinates = [
        f"{jar.groupId}:{jar.artifactId}:{jar.version}" for jar in lock.dependencies
    ]
    with (
        progress(f"Fetching the {len(coordinates)} jars of Kafka {version}, once"),
        ThreadPoolExecutor(DOWNLOADS) as pool,
    ):
        try:
            list(pool.map(fetch, coordinates))
        except Exception as error:
            raise ServersError(
                f"the jars of Kafka {version} can't be fetched: {error}. "
                "Check the network, or set KAFKA_BOOTSTRAP_SERVERS to a Kafka of yours."
            ) from error
    if wrong := lock.verify_checksums(repository):
        raise ServersError("\n".join([f"not the jars of {jars_of(version)}:", *wrong]))
    shutil.rmtree(repository)
