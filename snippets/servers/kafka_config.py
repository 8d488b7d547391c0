"""The configuration of a Kafka cluster in KRaft mode, for all ways to run it."""

import base64
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# One compiler tier and one collector thread: a small broker is ready in half the time.
JVM_HEAP = ("-Xms256m", "-Xmx256m")
JVM_QUICK = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")

FIRST_CONTROLLER_ID = 101

INTERNAL_TOPICS = (
    "offsets.topic",
    "transaction.state.log",
    "share.coordinator.state.topic",
)


@dataclass(frozen=True)
class Member:
    """One node of a cluster.

    Attributes:
        node_id: Its id; brokers count from 1, dedicated controllers from 101.
        roles: `broker`, `controller` or both.
        client: Where a broker listens for clients, `host:port`.
        advertised: Where clients find it, if that is not `client`.
        internal: Where a broker listens for the other brokers, `host:port`.
        control: Where a controller listens, `host:port`.
        internal_via: Where other brokers find it, if that is not `internal`.
        control_via: Where other nodes find the controller, if that is not `control`.
    """

    node_id: int
    roles: tuple[str, ...]
    client: str = ""
    advertised: str = ""
    internal: str = ""
    control: str = ""
    internal_via: str = ""
    control_via: str = ""

    @property
    def name(self) -> str:
        """What the node is called, such as `broker-2`."""
        return "-".join([*self.roles, str(self.node_id)])


def new_id() -> str:
    """Return an identifier such as Kafka wants for a cluster or a folder."""
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _bound(address: str) -> str:
    # A container listens on all its addresses, and is reached under its name.
    host, _, port = address.rpartition(":")
    return address if host == "127.0.0.1" else f"0.0.0.0:{port}"


def properties(
    member: Member,
    members: Sequence[Member],
    config: Mapping[str, str],
    client: Mapping[str, str],
) -> dict[str, str]:
    """Return the settings of `server.properties` for one node.

    Everything that bears on durability, order or delivery keeps Kafka's default, except
    that its internal topics get no more replicas than there are brokers.

    Args:
        member: The node.
        members: All nodes of the cluster.
        config: What the caller wants to be different.
        client: The settings of kafka-python by which clients connect.
    """
    controllers = [each for each in members if "controller" in each.roles]
    brokers = [each for each in members if "broker" in each.roles]
    voters = ",".join(
        f"{each.node_id}@{each.control_via or each.control}" for each in controllers
    )
    listeners, advertised = [], []
    if "broker" in member.roles:
        listeners.append(f"CLIENT://{member.client}")
        advertised.append(f"CLIENT://{member.advertised or member.client}")
        listeners.append(f"INTERNAL://{_bound(member.internal)}")
        advertised.append(f"INTERNAL://{member.internal_via or member.internal}")
    if "controller" in member.roles:
        listeners.append(f"CONTROLLER://{_bound(member.control)}")
        if member.control_via:
            advertised.append(f"CONTROLLER://{member.control_via}")
    protocols = {
        "CLIENT": client.get("security_protocol", "PLAINTEXT"),
        "INTERNAL": "PLAINTEXT",
        "CONTROLLER": "PLAINTEXT",
    }
    settings = {
        "node.id": str(member.node_id),
        "process.roles": ",".join(member.roles),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": ",".join(listeners),
        "listener.security.protocol.map": ",".join(map(":".join, protocols.items())),
        # A group of examples needn't wait for members that will never come.
        "group.initial.rebalance.delay.ms": "0",
        # Nor need a member of a share group wait for its next heartbeat, up to 5 s, to
        # learn its partitions.
        "group.share.assignment.interval.ms": "0",
        "group.share.heartbeat.interval.ms": "200",
        "group.share.min.heartbeat.interval.ms": "200",
    }
    if advertised:
        settings["advertised.listeners"] = ",".join(advertised)
    if "broker" in member.roles:
        settings["inter.broker.listener.name"] = "INTERNAL"
    copies = min(3, len(brokers))
    for topic in INTERNAL_TOPICS:
        settings[f"{topic}.replication.factor"] = str(copies)
        settings[f"{topic}.num.partitions"] = "1"
    for topic in INTERNAL_TOPICS[1:]:
        settings[f"{topic}.min.isr"] = str(min(2, copies))
    return {**settings, **config}
