"""What a replica has when it takes over, or follows, depends on the way to it."""

from dataclasses import replace

import pytest

from snippets.labs import loss, trial
from snippets.labs.faults.interface import Fault
from snippets.labs.faults.network import MachineLoss, Partition
from snippets.labs.faults.plain import Plain
from snippets.labs.faults.process import Kill
from snippets.labs.record import Trial
from snippets.labs.systems import kafka_outages
from snippets.labs.systems.interface import System
from snippets.labs.systems.kafka_outages import RunningDivided
from snippets.labs.systems.redis import DIVIDED_S, RedisSystem, connect
from snippets.labs.trial import Plan
from snippets.labs.workspace import Workspace
from snippets.servers import Kafka

SHORT = Plan(rate=300, load_s=(0.8, 1.2))


def try_out(system: System, fault: Fault, place: Workspace, plan: Plan = SHORT) -> Trial:
    """Run one short trial."""
    medium = Plain(place.folder)
    found, _ = trial.run(system, fault, medium, plan, 1, place)
    assert found.acknowledged > 0
    assert found.phantom == 0
    return found


def assert_all_before_was_lost(found: Trial) -> None:
    """Assert it, whatever became of what was acknowledged after the fault."""
    # A reply that was on its way when the fault struck arrives after it.
    assert found.acknowledged <= found.lost <= found.acknowledged + found.meanwhile


def test_a_far_replica_misses_what_was_under_way(workspace: Workspace) -> None:
    slow = replace(loss.FAR, latency_ms=200)
    found = try_out(slow, MachineLoss(), workspace)
    # At 300 a second, 60 are under way; a busy machine writes fewer.
    assert 0 < found.lost < found.acknowledged
    assert found.oldest_lost_ms >= 100


def test_what_a_far_replica_has_confirmed_is_not_lost(workspace: Workspace) -> None:
    assert try_out(loss.FAR_WAIT, MachineLoss(), workspace).lost == 0


def test_what_the_wrong_side_acknowledges_is_lost(workspace: Workspace) -> None:
    found = try_out(loss.FAR, Partition(), workspace)
    assert found.lost >= found.meanwhile * loss.WRONG_SIDE > 0
    assert found.unavailable_s < DIVIDED_S


def test_a_side_without_a_replica_can_be_made_to_refuse(workspace: Workspace) -> None:
    found = try_out(loss.FAR_MIN, Partition(), workspace)
    assert found.lost >= found.meanwhile * loss.WRONG_SIDE > 0
    assert found.unavailable_s > DIVIDED_S - loss.REFUSES_S


@pytest.mark.parametrize("system", loss.REDIS_RESTARTED)
def test_a_primary_that_restarts_empty_empties_its_replica(
    system: RedisSystem, workspace: Workspace
) -> None:
    found = try_out(system, Kill(), workspace)
    if system is loss.RESTARTED:
        assert_all_before_was_lost(found)
    else:
        assert found.lost == 0


def test_what_only_the_replica_has_is_not_lost(workspace: Workspace) -> None:
    folder = workspace.new_folder("redis")
    with loss.RESTARTED.run(Plain(folder), folder) as running:
        one, other = running.server.urls
        with connect(other) as replica:
            assert replica.config_get("appendfsync")["appendfsync"] == "always"
            replica.replicaof("NO", "ONE")
            replica.xadd("log", {"value": 1})
        with connect(one) as primary:
            primary.xadd("log", {"value": 2})
        assert running.values() == [1, 2]


def test_sentinels_promote_a_replica_when_the_primary_is_gone_for_long(
    workspace: Workspace,
) -> None:
    quick = replace(loss.SENTINEL_WAIT, down_after_ms=1000)
    found = try_out(quick, Kill(), workspace, replace(SHORT, time_line=True))
    assert found.lost == 0
    assert found.time_line
    unheard, heard = (
        [int(each) for each in counts.split()]
        for counts in (found.time_line.unacknowledged, found.time_line.acknowledged)
    )
    # Once it has taken note of the fault, the writer repeats nothing; then all is well.
    gap = slice(found.time_line.before + 1, found.time_line.before + 9)
    assert sum(heard[gap]) == 0 < sum(unheard[gap])
    assert heard[-1] > 0 == unheard[-1]
    assert found.unavailable_s >= 1.0
    assert found.group == "kept"


def test_clients_of_a_primary_that_sentinels_have_given_up_lose_what_they_write(
    workspace: Workspace,
) -> None:
    quick = replace(loss.DIVIDED_SENTINEL, down_after_ms=1000)
    found = try_out(quick, Partition(), workspace)
    # Some are acknowledged by the new primary, after the partition.
    assert found.lost >= found.meanwhile * loss.WRONG_SIDE > 0


def test_who_has_missed_all_takes_over_if_unclean_elections_are_allowed(
    workspace: Workspace,
) -> None:
    found = try_out(loss.LAST_IN_SYNC_UNCLEAN, Kill(), workspace)
    assert_all_before_was_lost(found)
    assert found.meanwhile > 0


def test_a_leader_that_is_cut_off_acknowledges_what_will_be_lost(
    workspace: Workspace,
) -> None:
    found = try_out(loss.DIVIDED_1, Partition(), workspace)
    # Some are acknowledged by the new leader, after the partition.
    assert found.lost >= found.meanwhile * loss.WRONG_SIDE > 0


def test_a_leader_that_was_cut_off_is_not_believed_that_it_leads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = iter(
        [
            {"leader_id": 2, "isr_nodes": [2, 3]},
            # What the old leader says as long as it has not heard of the new one.
            {"leader_id": 1, "isr_nodes": [1, 2, 3]},
            {"leader_id": 2, "isr_nodes": [1, 2, 3]},
        ]
    )
    monkeypatch.setattr(kafka_outages, "OUTAGE_S", 0)
    monkeypatch.setattr(RunningDivided, "_partition", lambda _: next(told))
    running = RunningDivided(Kafka("local", "", ""), [], "all", all_nodes=False, struck=1)
    assert running.bring_back() == ""
    assert not list(told)
