"""Redis as local processes."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from snippets.servers.interface import Custom, Redis
from snippets.servers.local.process import (
    Host,
    NewHost,
    NewStorage,
    Process,
    Storage,
    loopback,
)
from snippets.servers.local.redis_programs import programs
from snippets.servers.ports import free_port
from snippets.servers.ready import until_redis_answers, until_replica_follows
from snippets.servers.redis_cluster import SETTINGS, Peer, form
from snippets.servers.redis_config import arguments, listening, speaks_tls, url_of
from snippets.servers.run import current_run
from snippets.servers.versions import RedisRelease, redis_release


def _node(
    release: RedisRelease,
    name: str,
    host: Host,
    port: int,
    custom: Custom,
    more: Mapping[str, str],
    storage: NewStorage | None,
) -> Process:
    folder = current_run().new_folder(name)
    place = storage(name) if storage else Storage(folder)
    options = {
        **listening(port, custom.client),
        "bind": host.address,
        "dir": str(place.folder),
        # Its process title would wipe out the environment, by which the guard knows it.
        "set-proc-title": "no",
        **custom.config,
        **more,
    }
    program = programs(release, tls=speaks_tls(custom.client)) / release.program
    command = [*host.enter, str(program), *arguments(options)]
    return Process(name, command, folder, place.environment)


@contextmanager
def redis(
    *,
    version: str | None = None,
    masters: int = 1,
    replicas: int,
    custom: Custom,
    storage: NewStorage | None = None,
    host: NewHost = loopback,
) -> Iterator[Redis]:
    """Run masters with their replicas; see `snippets.servers.redis`.

    Args:
        version: Which release; the newest if left out.
        masters: How many masters there are.
        replicas: How many replicas follow each master.
        custom: Settings as in `redis.conf`, and how clients connect.
        storage: Where each node keeps its data; in the run's own folder if left out.
        host: Where each node is on the network.
    """
    release = redis_release(version)
    names = [f"redis-{number + 1}" for number in range(masters * (1 + replicas))]
    hosts = [host(name) for name in names]
    ports = [free_port() for _ in names]
    urls = [
        url_of(port, custom.client, at.address)
        for port, at in zip(ports, hosts, strict=True)
    ]
    peers = [
        Peer(url, at.address, free_port())
        for url, at in zip(urls, hosts, strict=True)
        if masters > 1
    ]
    nodes = []
    for number, (name, at, port) in enumerate(zip(names, hosts, ports, strict=True)):
        own = {"replicaof": f"{hosts[0].address} {ports[0]}"} if number else {}
        if peers:
            bus = str(peers[number].bus_port)
            own = {**SETTINGS, "cluster-port": bus}
        nodes.append(_node(release, name, at, port, custom, own, storage))

    def alive() -> None:
        for node in nodes:
            node.check_alive()

    try:
        for node in nodes:
            node.start()
        versions = [until_redis_answers(url, alive=alive) for url in urls]
        if peers:
            form(peers, masters=masters, alive=alive)
        for url in urls[masters:]:
            until_replica_follows(url, alive=alive)
        yield Redis("local", versions[0], urls, nodes)
    finally:
        for node in nodes:
            node.end()
            current_run().forget(node.folder)
