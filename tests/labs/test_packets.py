"""Packets between two nodes can be dropped, and those between others pass meanwhile."""

import os
import shutil
from pathlib import Path

import pytest

from snippets.labs import loss
from snippets.labs.faults import packets
from snippets.labs.faults.interface import FaultError
from snippets.labs.faults.netns import (
    CLIENTS,
    OWN,
    PACKAGES,
    SUBNET,
    Network,
    Packets,
    network,
    obstacle,
)
from snippets.labs.faults.packets import PacketPartition, wrong_with
from snippets.labs.systems.interface import System
from snippets.labs.systems.redis import DIVIDED_S
from snippets.labs.workspace import Workspace
from tests.labs.test_failover import try_out
from tests.labs.test_power import may

CAP_NET_ADMIN, CAP_SYS_ADMIN = 12, 21


def works(workspace: Workspace) -> bool:
    """Tell whether packets can be dropped here; else it says why."""
    found = PacketPartition().can_inject(workspace)
    if obstacle() is None and may(CAP_NET_ADMIN) and may(CAP_SYS_ADMIN):
        assert found is None
    else:
        assert found, "it neither works nor says why"
    return found is None


def test_the_controls_hold_or_it_says_what_is_missing(workspace: Workspace) -> None:
    works(workspace)


def test_a_thread_is_in_a_network_only_within_the_block(workspace: Workspace) -> None:
    if not works(workspace):
        return
    here = Path(OWN)
    before = here.readlink()
    with network() as made:
        assert here.readlink() == Path(made.bridge.path).readlink() != before
        made.host("one")
        with made.hosts["one"][1].entered():
            assert here.readlink() == Path(made.hosts["one"][1].path).readlink()
        assert here.readlink() == Path(made.bridge.path).readlink()
    assert here.readlink() == before


class Idle(Network):
    """A network in which nothing is dropped."""

    def around(self, name: str) -> Packets:
        """Return no packets."""
        return Packets(self.hosts[name][1], [])


class Lonely(Network):
    """A network in which clients are cut off too."""

    def around(self, name: str) -> Packets:
        """Return all packets."""
        way = super().around(name)
        return Packets(way.node, [*way.others, f"{SUBNET}.{CLIENTS}"])


@pytest.mark.parametrize(
    ("kind", "findings"),
    [
        (
            Idle,
            [
                "something passes between nodes that are apart",
                "nodes that are apart can connect",
            ],
        ),
        (Lonely, ["clients do not reach a node that is apart"]),
    ],
)
def test_the_controls_find_a_network_that_does_not_work(
    kind: type[Network],
    findings: list[str],
    workspace: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not works(workspace):
        return
    monkeypatch.setattr(packets, "PATIENCE_S", 1.0)
    with network() as made:
        found = wrong_with(kind(made.bridge, made.stack))
    # After a long silence TCP waits long to send again, which may be found too.
    assert set(findings) <= set(found)


def test_without_root_there_is_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool, **_: tool)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    missing = obstacle()
    assert missing
    assert "root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run the lab with `sudo`" in missing


@pytest.mark.parametrize(("tool", "package"), PACKAGES.items())
def test_a_tool_that_is_not_installed(
    tool: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shutil, "which", lambda wanted, **_: None if wanted == tool else wanted
    )
    missing = obstacle()
    assert missing
    assert f"{tool} is not installed" in missing
    assert f"apt-get install {package}`" in missing


def test_packets_that_are_dropped_end_no_connection(workspace: Workspace) -> None:
    if not works(workspace):
        return
    with network() as made:
        made.host("one")
        with pytest.raises(FaultError, match="no connection ends"):
            made.around("one").cut()


def test_what_a_tool_refuses_is_the_reason(workspace: Workspace) -> None:
    if not works(workspace):
        return
    with network() as made:
        made.host("one")
        way = Packets(made.hosts["one"][1], ["nowhere.invalid"])
        with pytest.raises(FaultError, match="`iptables-restore` failed: "):
            way.silence()


@pytest.mark.parametrize(
    "system", [loss.REDIS_APART[0], loss.KAFKA_APART[0]], ids=lambda each: each.name
)
def test_what_the_wrong_side_acknowledges_is_lost(
    system: System, workspace: Workspace
) -> None:
    if not works(workspace):
        return
    found = try_out(system, PacketPartition(), workspace)
    # Some are acknowledged by the new leader, after the partition.
    assert found.lost >= found.meanwhile * loss.WRONG_SIDE > 0


def test_a_side_without_a_replica_can_be_made_to_refuse(workspace: Workspace) -> None:
    if not works(workspace):
        return
    found = try_out(loss.REDIS_APART[2], PacketPartition(), workspace)
    assert found.lost >= found.meanwhile * loss.WRONG_SIDE > 0
    assert found.unavailable_s > DIVIDED_S - loss.REFUSES_S
