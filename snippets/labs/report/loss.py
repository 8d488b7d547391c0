"""What the site shows of the lab on loss: see `docs/evidence/loss.md`."""

from collections.abc import Sequence
from statistics import median

from snippets.labs.plan import AnyCell
from snippets.labs.record import Lab
from snippets.labs.report.chart import strips
from snippets.labs.report.sentences import (
    Sentence,
    again,
    in_a_partition,
    loses,
    one_by_one,
    out_of_reach,
    refusals,
    render,
    reordered,
    window,
)
from snippets.labs.report.tables import Entry, listing, matrix, runs
from snippets.labs.report.words import age, counted

# What a configuration is called; the settings stand below it.
TITLES = {
    "redis": {
        "none": "No persistence",
        "rdb": "Snapshots, every 2 s",
        "aof-no": "Append-only file, synced when the kernel likes",
        "aof-everysec": "Append-only file, synced every second",
        "aof-always": "Append-only file, synced before the reply",
        "aof-everysec-waitaof": "Every second, and the client waits for the sync",
        "replica": "A replica takes over",
        "replica-wait": "A replica takes over, and the client waits for it",
        "replica-min-1": "A replica takes over, min-replicas-to-write 1",
        "none-restarted-wait": "No persistence, restarted at once beside its replica",
        "aof-restarted-wait": "Append-only file, restarted at once beside its replica",
        "replica-far": "A replica 20 ms away takes over",
        "replica-far-wait": "A replica 20 ms away, and the client waits for it",
        "replica-far-min-1": "A replica 20 ms away, min-replicas-to-write 1",
        "sentinel": "Three Sentinels choose one of two replicas",
        "sentinel-wait": "Three Sentinels, and the client waits for a replica",
        "sentinel-divided": "Three Sentinels, the primary is cut off from them",
        "sentinel-divided-wait": "Cut off from Sentinels, and the client waits",
    },
    "kafka": {
        "default": "One broker, as installed",
        "flush-topic": "One broker, the topic flushes each record",
        "flush-broker": "One broker, all topics flush each record",
        "cluster": "Three brokers, all hit",
        "cluster-flush-broker": "Three brokers, all hit, all topics flush",
        "cluster-leader-acks-0": "Three brokers, the leader hit, acks=0",
        "cluster-leader-acks-1": "Three brokers, the leader hit, acks=1",
        "cluster-leader-acks-all": "Three brokers, the leader hit, acks=all",
        "last-in-sync": "The last replica in sync dies",
        "last-in-sync-unclean": "The last replica in sync dies, unclean election",
        "leader-divided-acks-1": "The leader is cut off from the others, acks=1",
        "leader-divided-acks-all": "The leader is cut off from the others, acks=all",
        "two-of-three-die-min-1": "Two of three brokers die, min.insync.replicas=1",
        "two-of-three-die-min-2": "Two of three brokers die, min.insync.replicas=2",
    },
}

# The faults that hit nearly every configuration; the others have a table of their own.
COMMON = ("SIGTERM", "SIGKILL", "power cut")

LABELS = {
    "redis": "Redis: acknowledged entries that are lost",
    "kafka": "Kafka: acknowledged records that are lost",
}

SENTENCES = {
    "redis_killed": Sentence(["redis/aof-*/sigkill"], loses("entries")),
    "kafka_killed": Sentence(
        ["kafka/default/sigkill", "kafka/flush-*/sigkill"], loses("records")
    ),
    "always": Sentence(["redis/aof-always/power-cut/*"], loses("entries")),
    "aof_no": Sentence(["redis/aof-no/power-cut/*"], loses("entries")),
    "everysec": Sentence(["redis/aof-everysec/power-cut/ext4"], window),
    "waitaof": Sentence(["redis/aof-everysec-waitaof/power-cut/*"], one_by_one),
    "refused": Sentence(["redis/aof-*/power-cut/*"], refusals),
    "broker_default": Sentence(["kafka/default/power-cut/*"], loses("records")),
    "broker_flush": Sentence(["kafka/flush-broker/power-cut/*"], loses("records")),
    "cluster_default": Sentence(["kafka/cluster/power-cut/*"], loses("records")),
    "cluster_flush": Sentence(
        ["kafka/cluster-flush-broker/power-cut/*"], loses("records")
    ),
    "topic_flush": Sentence(["kafka/flush-topic/power-cut/*"], again),
    "acks_0": Sentence(["kafka/cluster-leader-acks-0/sigkill"], loses("records")),
    "acks_1": Sentence(["kafka/cluster-leader-acks-1/sigkill"], reordered),
    "acks_all": Sentence(["kafka/cluster-leader-acks-all/sigkill"], reordered),
    "restarted": Sentence(["redis/none-restarted-wait/sigkill"], loses("entries")),
    "restarted_aof": Sentence(["redis/aof-restarted-wait/sigkill"], loses("entries")),
    "far": Sentence(["redis/replica-far/machine-loss/*"], loses("entries")),
    "far_wait": Sentence(["redis/replica-far-wait/machine-loss/*"], loses("entries")),
    "split": Sentence(["redis/replica-far/partition/*"], in_a_partition("entries")),
    "split_wait": Sentence(["redis/replica-far-wait/partition/*"], loses("entries")),
    "split_min": Sentence(
        ["redis/replica-far-min-1/partition/*"], in_a_partition("entries")
    ),
    "apart": Sentence(["redis/replica/partition/*"], in_a_partition("entries")),
    "apart_wait": Sentence(["redis/replica-wait/partition/*"], loses("entries")),
    "apart_min": Sentence(["redis/replica-min-1/partition/*"], in_a_partition("entries")),
    "divided_1": Sentence(
        ["kafka/leader-divided-acks-1/partition/netns"], in_a_partition("records")
    ),
    "divided_all": Sentence(
        ["kafka/leader-divided-acks-all/partition/netns"], loses("records")
    ),
    "divided_all_gone": Sentence(
        ["kafka/leader-divided-acks-all/partition/netns"], out_of_reach
    ),
    "unclean": Sentence(["kafka/last-in-sync-unclean/sigkill"], loses("records")),
    "last_in_sync": Sentence(["kafka/last-in-sync/sigkill"], loses("records")),
    "leader_gone": Sentence(["kafka/cluster-leader-acks-all/sigkill"], out_of_reach),
}


def entries(lab: Lab, planned: Sequence[AnyCell]) -> list[Entry]:
    """Return all cells of a lab, in the order of its plan, then what else is recorded.

    Args:
        lab: What is recorded.
        planned: What the lab would run.
    """
    found = [
        Entry(
            name=each.name,
            system=each.system.system,
            configuration=each.system.name,
            fault=each.fault.name,
            backend=each.backend,
            settings=each.system.settings,
            cell=lab.cells.get(each.name),
        )
        for each in planned
    ]
    known = {each.name for each in found}
    found += [
        Entry(
            name=name,
            system=cell.system,
            configuration=cell.configuration,
            fault=cell.fault,
            backend=cell.backend,
            settings=cell.settings,
            cell=cell,
        )
        for name, cell in lab.cells.items()
        if name not in known
    ]
    systems = list(LABELS)
    return sorted(found, key=lambda each: systems.index(each.system))


def overview(lab: Lab, shown: Sequence[Entry]) -> str:
    """Return how much is recorded, and whether the controls held."""
    cells = [each.cell for each in shown if each.cell]
    trials = sum(len(each.trials) for each in cells)
    void = sum(len(each.void) for each in cells)
    not_run = sum(bool(each.not_run) for each in cells)
    failed = {name: said for name, said in lab.controls.items() if said != "held"}
    controls = (
        "; ".join(
            f"**a control of {name} fails: {said}**" for name, said in failed.items()
        )
        or "The controls of every back end held"
    )
    return (
        f"Recorded: {len(cells) - not_run} of {len(shown)} cells, "
        f"{counted(trials, 'trial')} that count and {void} void. "
        f"Not run here: {not_run}. {controls}.\n"
    )


def _of_system(shown: Sequence[Entry], system: str) -> list[Entry]:
    return [each for each in shown if each.system == system]


def _everysec(lab: Lab) -> dict[str, list[float]]:
    prefix = "redis/aof-everysec/power-cut/"
    return {
        name.removeprefix(prefix): [each.oldest_lost_ms for each in cell.trials]
        for name, cell in lab.cells.items()
        if name.startswith(prefix) and cell.trials
    }


def _ages_table(rows: dict[str, list[float]]) -> str:
    lines = [
        f"| {name}, {counted(len(ages), 'trial')} | {age(median(ages))} | "
        f"{age(min(ages))} to {age(max(ages))} |"
        for name, ages in rows.items()
    ]
    head = ["| Disk | Median | All trials |", "| --- | --- | --- |"]
    return "\n".join([*head, *(lines or ["| Not recorded yet | ? | ? |"])]) + "\n"


def pieces(lab: Lab, planned: Sequence[AnyCell]) -> dict[str, str]:
    """Return what the pages include, by the name of the file.

    Args:
        lab: What is recorded.
        planned: What the lab would run.
    """
    shown = entries(lab, planned)
    common = [each for each in shown if each.fault in COMMON]
    others = [each for each in shown if each.fault not in COMMON]
    everysec = _everysec(lab)
    found = {
        "overview.txt": overview(lab, shown),
        "runs.txt": runs(shown, TITLES),
        "sentences.txt": render(lab, SENTENCES),
        "everysec.svg": strips(
            "everysec",
            "Age of the oldest entry lost, everysec",
            everysec,
            color="redis",
        ),
        "everysec.txt": _ages_table(everysec),
    }
    for system, label in LABELS.items():
        found[f"{system}.txt"] = matrix(label, _of_system(common, system), TITLES[system])
        own = _of_system(others, system)
        found[f"{system}_others.txt"] = (
            listing(f"{label}, by other faults", own, TITLES[system])
            if own
            else "No other fault is recorded yet.\n"
        )
    return found
