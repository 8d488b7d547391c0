"""Local servers: on loopback only, and nothing left of them."""

import psutil
import pytest

from snippets import servers
from snippets.servers import Way
from snippets.servers.local.process import Process
from snippets.servers.run import current_run


def test_a_block_leaves_no_folder_behind() -> None:
    before = set(current_run().folder.iterdir())
    with servers.redis(way=Way.LOCAL):
        assert set(current_run().folder.iterdir()) > before
    assert set(current_run().folder.iterdir()) == before


def test_local_servers_listen_on_loopback_only() -> None:
    with servers.redis(way=Way.LOCAL) as redis, servers.kafka(way=Way.LOCAL) as kafka:
        for node in [*redis.nodes, *kafka.brokers]:
            assert isinstance(node, Process)
            listening = [
                each.laddr.ip.removeprefix("::ffff:")
                for each in psutil.Process(node.pid).net_connections()
                if each.status == psutil.CONN_LISTEN
            ]
            assert set(listening) == {"127.0.0.1"}


@pytest.mark.parametrize(("version", "controllers"), [("3.9.2", 0), ("4.4.0", 1)])
def test_another_kafka_answers(version: str, controllers: int) -> None:
    with servers.kafka(version=version, controllers=controllers, way=Way.LOCAL) as kafka:
        assert kafka.version == version
