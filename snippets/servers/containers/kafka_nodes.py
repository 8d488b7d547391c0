"""Kafka as containers of the official image."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from snippets.servers.containers.knock import until_brokers_answer
from snippets.servers.containers.node import ContainerNode, network, require
from snippets.servers.interface import Custom, Kafka
from snippets.servers.kafka_config import (
    FIRST_CONTROLLER_ID,
    JVM_HEAP,
    JVM_QUICK,
    Member,
    new_id,
    properties,
)
from snippets.servers.kafka_version import logged_version
from snippets.servers.ports import free_port
from snippets.servers.ready import until_kafka_answers
from snippets.servers.versions import KAFKA_IMAGE

CLIENT_PORT = 9092
INTERNAL_PORT = 19092
CONTROL_PORT = 9093

# A volume of the image: gone with the container, and no layer of files over files.
DATA = "/var/lib/kafka/data"

# How the image wants a setting's name as a variable.
NAMES = str.maketrans({".": "_", "_": "__", "-": "___"})


def variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Return broker settings as the variables that the image reads them from."""
    return {
        f"KAFKA_{key.translate(NAMES).upper()}": value for key, value in settings.items()
    }


def members_of(brokers: int, controllers: int) -> list[Member]:
    """Plan the nodes of a cluster, brokers first; see `snippets.servers.kafka`."""
    roles = ("broker",) if controllers else ("broker", "controller")
    members = []
    for number in range(1, brokers + 1):
        name = Member(number, roles).name
        members.append(
            Member(
                node_id=number,
                roles=roles,
                client=f"0.0.0.0:{CLIENT_PORT}",
                advertised=f"127.0.0.1:{free_port()}",
                internal=f"{name}:{INTERNAL_PORT}",
                control="" if controllers else f"{name}:{CONTROL_PORT}",
            )
        )
    for number in range(FIRST_CONTROLLER_ID, FIRST_CONTROLLER_ID + controllers):
        name = Member(number, ("controller",)).name
        members.append(Member(number, ("controller",), control=f"{name}:{CONTROL_PORT}"))
    return members


@contextmanager
def cluster(
    members: Sequence[Member],
    custom: Custom,
    *,
    image: str = KAFKA_IMAGE,
    java_options: str = "",
) -> Iterator[Kafka]:
    """Run a cluster.

    Args:
        members: Its nodes, brokers first.
        custom: What is asked of all nodes.
        image: The image that they run.
        java_options: More options for their Java virtual machines.

    Yields:
        The cluster, all of whose brokers answer.

    Raises:
        ServersError: It can't be had, or doesn't answer in time.
    """
    require(image)
    environment = {
        "CLUSTER_ID": new_id(),
        "KAFKA_HEAP_OPTS": " ".join(JVM_HEAP),
        "KAFKA_JVM_PERFORMANCE_OPTS": " ".join(JVM_QUICK),
        "KAFKA_OPTS": java_options,
    }
    brokers = [member for member in members if member.advertised]
    addresses = [broker.advertised for broker in brokers]
    nodes: list[ContainerNode] = []

    def alive() -> None:
        for node in nodes:
            node.check_alive()

    with network(len(members)) as shared, ExitStack() as stack:
        for member in members:
            config = {"log.dirs": DATA, **custom.config}
            settings = properties(member, members, config, custom.client)
            port = member.advertised.rpartition(":")[2]
            node = ContainerNode(
                member.name,
                image,
                shared,
                ports={CLIENT_PORT: int(port)} if port else {},
                environment={**environment, **variables(settings)},
                files=custom.files,
            )
            stack.callback(node.end)
            node.start()
            nodes.append(node)
        client_settings = {**custom.client, "bootstrap_servers": ",".join(addresses)}
        until_brokers_answer(client_settings, alive=alive)
        until_kafka_answers(client_settings, brokers=len(brokers), alive=alive)
        yield Kafka(
            way="containers",
            version=logged_version(nodes[0].logs),
            bootstrap_servers=client_settings["bootstrap_servers"],
            brokers=nodes[: len(brokers)],
            controllers=nodes[len(brokers) :],
            settings=client_settings,
        )
