"""Redis as containers of the official image."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from snippets.servers.containers.node import ContainerNode, network, require
from snippets.servers.interface import Redis
from snippets.servers.ports import free_port
from snippets.servers.ready import until_redis_answers, until_replica_follows
from snippets.servers.redis_config import arguments
from snippets.servers.versions import REDIS_IMAGE

PORT = 6379


@contextmanager
def primary(*, replicas: int, config: Mapping[str, str]) -> Iterator[Redis]:
    """Run a primary with its replicas; see `snippets.servers.redis`."""
    require(REDIS_IMAGE)
    ports = [free_port() for _ in range(1 + replicas)]
    urls = [f"redis://127.0.0.1:{port}" for port in ports]
    with network() as members, ExitStack() as stack:
        nodes = []
        for number, port in enumerate(ports, start=1):
            follow = {"replicaof": f"redis-1 {PORT}"} if number > 1 else {}
            node = ContainerNode(
                f"redis-{number}",
                REDIS_IMAGE,
                members,
                ports={PORT: port},
                command=["redis-server", *arguments({**config, **follow})],
            )
            stack.callback(node.end)
            node.start()
            nodes.append(node)
        version = until_redis_answers(urls[0], alive=nodes[0].check_alive)
        for node, url in zip(nodes[1:], urls[1:], strict=True):
            until_replica_follows(url, alive=node.check_alive)
        yield Redis("containers", version, urls, nodes)
