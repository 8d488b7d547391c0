"""What the site shows of failovers and partitions: see `docs/evidence/failover.md`."""

from collections.abc import Sequence

from snippets.labs.record import Cell, Lab
from snippets.labs.report.chart import Panel, time_lines
from snippets.labs.report.summary import matching
from snippets.labs.report.tables import Entry, listing
from snippets.labs.report.words import counted, spread

# The configurations in which one node goes and others go on, and what they are called.
TITLES = {
    "redis": {
        "sentinel": "Three Sentinels choose one of two replicas",
        "sentinel-wait": "Three Sentinels, and the client waits for a replica",
        "sentinel-divided": "Three Sentinels, the primary is cut off from them",
        "sentinel-divided-wait": "Cut off from Sentinels, and the client waits",
        "replica": "A replica takes over",
        "replica-wait": "A replica takes over, and the client waits for it",
        "replica-min-1": "A replica takes over, min-replicas-to-write 1",
        "replica-far": "A replica 20 ms away takes over",
        "replica-far-wait": "A replica 20 ms away, and the client waits for it",
        "replica-far-min-1": "A replica 20 ms away, min-replicas-to-write 1",
        "none-restarted-wait": "No persistence, restarted at once beside its replica",
        "aof-restarted-wait": "Append-only file, restarted at once beside its replica",
    },
    "kafka": {
        "cluster-leader-acks-all": "Three brokers, the leader hit, acks=all",
        "cluster-leader-acks-1": "Three brokers, the leader hit, acks=1",
        "cluster-leader-acks-0": "Three brokers, the leader hit, acks=0",
        "leader-divided-acks-all": "The leader is cut off from the others, acks=all",
        "leader-divided-acks-1": "The leader is cut off from the others, acks=1",
        "last-in-sync": "The last replica in sync dies",
        "last-in-sync-unclean": "The last replica in sync dies, unclean election",
        "two-of-three-die-min-2": "Two of three brokers die, min.insync.replicas=2",
        "two-of-three-die-min-1": "Two of three brokers die, min.insync.replicas=1",
    },
}

# What the time line shows, and the cells of the table beside it.
DRAWN = {
    "redis/sentinel/sigkill": "Redis, three Sentinels",
    "kafka/cluster-leader-acks-all/sigkill": "Kafka, three brokers, acks=all",
}
BESIDE = {
    "redis/sentinel/sigkill": "Redis, Sentinels",
    "redis/sentinel-wait/sigkill": "Redis, Sentinels, `WAIT 1`",
    "kafka/cluster-leader-acks-all/sigkill": "Kafka, `acks=all`",
    "kafka/cluster-leader-acks-1/sigkill": "Kafka, `acks=1`",
    "kafka/cluster-leader-acks-0/sigkill": "Kafka, `acks=0`",
}
TITLE = "What became of writes around a failover"
HEADS = ("Failover", "Nothing acknowledged for", "Lost", "Tried, never acknowledged")
# The page that has the recorded runs.
RUNS = "../loss/"


def is_failover(entry: Entry) -> bool:
    """Tell whether a cell is one of those that this page shows."""
    return entry.configuration in TITLES[entry.system]


def _unavailable(cell: Cell) -> str:
    return spread([each.unavailable_s for each in cell.trials], " s", 1)


def _never_acknowledged(cell: Cell) -> str:
    lines = [each.time_line for each in cell.trials if each.time_line]
    if not lines:
        return "not recorded yet"
    counts = [sum(map(int, each.unacknowledged.split())) for each in lines]
    return spread(counts)


def _panel(lab: Lab, name: str, label: str) -> Panel:
    cell = matching(lab, [name]).get(name)
    if cell is None:
        return Panel(label, name.partition("/")[0], 1, [], "")
    lines = [each.time_line for each in cell.trials if each.time_line]
    said = (
        f"{counted(len(cell.trials), 'trial')}, nothing is acknowledged for "
        f"{_unavailable(cell)}, tried and never acknowledged are "
        f"{_never_acknowledged(cell)}"
    )
    return Panel(label, cell.system, cell.rate, lines, said)


def _table(lab: Lab) -> str:
    lines = [f"| {' | '.join(HEADS)} |", f"|{' --- |' * len(HEADS)}"]
    for name, label in BESIDE.items():
        if cell := matching(lab, [name]).get(name):
            lost = spread([each.lost for each in cell.trials])
            said = [_unavailable(cell), lost, _never_acknowledged(cell)]
        else:
            said = ["not recorded yet"] * (len(HEADS) - 1)
        lines.append(f"| {' | '.join([label, *said])} |")
    return "\n".join(lines) + "\n"


def pieces(lab: Lab, entries: Sequence[Entry], labels: dict[str, str]) -> dict[str, str]:
    """Return what the page includes, by the name of the file.

    Args:
        lab: What is recorded.
        entries: All cells of the lab.
        labels: What a table of a system shows, for those who can't see it.
    """
    panels = [_panel(lab, name, label) for name, label in DRAWN.items()]
    found = {
        "failover.svg": time_lines("failover", TITLE, panels),
        "failover.txt": _table(lab),
    }
    for system, titles in TITLES.items():
        order = list(titles)
        own = sorted(
            (each for each in entries if each.system == system and is_failover(each)),
            key=lambda each: order.index(each.configuration),
        )
        found[f"{system}_failover.txt"] = listing(
            f"{labels[system]} when one node goes",
            own,
            titles,
            page=RUNS,
            more={HEADS[1]: _unavailable, HEADS[3]: _never_acknowledged},
        )
    return found
