"""Redis as containers of the official image."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from snippets.servers.containers.node import ContainerNode, network, require
from snippets.servers.interface import Custom, Redis
from snippets.servers.ports import free_port
from snippets.servers.ready import until_redis_answers, until_replica_follows
from snippets.servers.redis_cluster import SETTINGS, Peer, form
from snippets.servers.redis_config import arguments, listening, url_of
from snippets.servers.versions import RedisRelease

PORT = 6379
BUS_PORT = 16379


@contextmanager
def nodes_of(
    release: RedisRelease, *, masters: int, replicas: int, custom: Custom
) -> Iterator[Redis]:
    """Run masters with their replicas; see `snippets.servers.redis`."""
    require(release.image)
    ports = [free_port() for _ in range(masters * (1 + replicas))]
    urls = [url_of(port, custom.client) for port in ports]
    nodes: list[ContainerNode] = []

    def alive() -> None:
        for node in nodes:
            node.check_alive()

    with network(len(ports)) as members, ExitStack() as stack:
        for number, port in enumerate(ports, start=1):
            own = _cluster(port) if masters > 1 else _alone(number)
            inside = int(own.get("port", PORT))
            config = {**listening(inside, custom.client), **custom.config, **own}
            node = ContainerNode(
                f"redis-{number}",
                release.image,
                members,
                ports={inside: port},
                command=[release.program, *arguments(config)],
                files=custom.files,
            )
            stack.callback(node.end)
            node.start()
            nodes.append(node)
        versions = [until_redis_answers(url, alive=alive) for url in urls]
        if masters > 1:
            peers = [
                Peer(url, node.address, BUS_PORT)
                for url, node in zip(urls, nodes, strict=True)
            ]
            form(peers, masters=masters, alive=alive)
        for url in urls[masters:]:
            until_replica_follows(url, alive=alive)
        yield Redis("containers", versions[0], urls, nodes)


def _alone(number: int) -> dict[str, str]:
    return {"replicaof": f"redis-1 {PORT}"} if number > 1 else {}


def _cluster(port: int) -> dict[str, str]:
    """Return the settings of a node that clients don't find where the other nodes do.

    The nodes know each other by the addresses of their network. What they tell clients is
    the "hostname", here our loopback's address. There is but one port to announce, so the
    node listens inside of its container on the one that is published.
    """
    return {
        "port": str(port),
        **SETTINGS,
        "cluster-port": str(BUS_PORT),
        "cluster-announce-hostname": "127.0.0.1",
        "cluster-preferred-endpoint-type": "hostname",
    }
