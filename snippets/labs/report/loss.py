"""What the site shows of the lab on loss: see `docs/evidence/loss.md`."""

from collections.abc import Sequence
from statistics import median

from snippets.labs.plan import AnyCell
from snippets.labs.record import Lab
from snippets.labs.report import failover
from snippets.labs.report.chart import strips
from snippets.labs.report.sentences import (
    Sentence,
    again,
    cut_off,
    interruption,
    loses,
    one_by_one,
    refusals,
    render,
    reordered,
    window,
    wrong_side,
)
from snippets.labs.report.tables import Entry, listing, matrix, runs
from snippets.labs.report.words import age, counted

# What a configuration is called; the settings stand below it.
TITLES = {
    "redis": {
        **failover.TITLES["redis"],
        "none": "No persistence",
        "rdb": "Snapshots, every 2 s",
        "aof-no": "Append-only file, synced when the kernel likes",
        "aof-no-long": "Synced when the kernel likes, after most of a minute",
        "aof-no-long-corrupt-tail": "The same, and a damaged end is cut off",
        "aof-everysec": "Append-only file, synced every second",
        "aof-always": "Append-only file, synced before the reply",
        "aof-everysec-waitaof": "Every second, and the client waits for the sync",
    },
    "kafka": {
        **failover.TITLES["kafka"],
        "default": "One broker, as installed",
        "flush-topic": "One broker, the topic flushes each record",
        "flush-broker": "One broker, all topics flush each record",
        "cluster": "Three brokers, all hit",
        "cluster-flush-broker": "Three brokers, all hit, all topics flush",
    },
}

# The faults that hit nearly every configuration; the others have a table of their own.
COMMON = ("SIGTERM", "SIGKILL", "power cut")

LABELS = {
    "redis": "Redis: acknowledged entries that are lost",
    "kafka": "Kafka: acknowledged records that are lost",
}

# A few seconds of load, in which the kernel writes nothing by itself.
SHORT = ("aof-no", "aof-everysec", "aof-everysec-waitaof", "aof-always")

SENTENCES = {
    "redis_killed": Sentence(["redis/aof-*/sigkill"], loses("entries")),
    "kafka_killed": Sentence(
        ["kafka/default/sigkill", "kafka/flush-*/sigkill"], loses("records")
    ),
    "always": Sentence(["redis/aof-always/power-cut/*"], loses("entries")),
    "aof_no": Sentence(["redis/aof-no/power-cut/*"], loses("entries")),
    "everysec": Sentence(["redis/aof-everysec/power-cut/ext4"], window),
    "waitaof": Sentence(["redis/aof-everysec-waitaof/power-cut/*"], one_by_one),
    "refused": Sentence([f"redis/{name}/power-cut/*" for name in SHORT], refusals),
    "refused_long": Sentence(["redis/aof-no-long/power-cut/ext4"], refusals),
    "repaired": Sentence(["redis/aof-no-long/power-cut/ext4"], cut_off),
    "corrupt_tail": Sentence(["redis/aof-no-long-corrupt-tail/power-cut/ext4"], refusals),
    "corrupt_tail_lost": Sentence(
        ["redis/aof-no-long-corrupt-tail/power-cut/ext4"], cut_off
    ),
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
    "split": Sentence(["redis/replica-far/partition/*"], wrong_side("entries")),
    "split_wait": Sentence(
        ["redis/replica-far-wait/partition/*"], interruption("entries")
    ),
    "split_min": Sentence(["redis/replica-far-min-1/partition/*"], wrong_side("entries")),
    "sentinel": Sentence(["redis/sentinel/sigkill"], interruption("entries")),
    "sentinel_split": Sentence(["redis/sentinel-divided/*"], wrong_side("entries")),
    "sentinel_split_wait": Sentence(
        ["redis/sentinel-divided-wait/*"], interruption("entries")
    ),
    "leader": Sentence(
        ["kafka/cluster-leader-acks-all/sigkill"], interruption("records")
    ),
    "leader_split": Sentence(
        ["kafka/leader-divided-acks-1/partition/proxy"], wrong_side("records")
    ),
    "leader_split_all": Sentence(
        ["kafka/leader-divided-acks-all/partition/proxy"], interruption("records")
    ),
    "leader_apart": Sentence(
        ["kafka/leader-divided-acks-1/partition/netns"], wrong_side("records")
    ),
    "leader_apart_all": Sentence(
        ["kafka/leader-divided-acks-all/partition/netns"], interruption("records")
    ),
    "apart": Sentence(["redis/replica/partition/*"], wrong_side("entries")),
    "apart_wait": Sentence(["redis/replica-wait/partition/*"], interruption("entries")),
    "apart_min": Sentence(["redis/replica-min-1/partition/*"], wrong_side("entries")),
    "leader_paused": Sentence(
        ["kafka/cluster-leader-acks-1/pause-*"], wrong_side("records")
    ),
    "leader_paused_all": Sentence(
        ["kafka/cluster-leader-acks-all/pause-*"], interruption("records")
    ),
    "sentinel_paused": Sentence(["redis/sentinel*/pause-*"], interruption("entries")),
    "unclean": Sentence(["kafka/last-in-sync-unclean/sigkill"], interruption("records")),
    "last_in_sync": Sentence(["kafka/last-in-sync/sigkill"], interruption("records")),
    "disk_full": Sentence(["redis/aof-everysec/disk-full/*"], loses("entries")),
    "min_1": Sentence(["kafka/two-of-three-die-min-1/sigkill"], interruption("records")),
    "min_2": Sentence(["kafka/two-of-three-die-min-2/sigkill"], interruption("records")),
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
    own_page = [each for each in shown if not failover.is_failover(each)]
    common = [each for each in own_page if each.fault in COMMON]
    others = [each for each in own_page if each.fault not in COMMON]
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
        **failover.pieces(lab, shown, LABELS),
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
