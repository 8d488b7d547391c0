"""The lab on loss: what is gone, doubled or out of order after a fault, and for how long.

To add a configuration, name it in `REDIS` or `KAFKA`. To add a fault, see `faults`. What
a cell must show is said in `EXPECTATIONS`, and asserted whenever it runs.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from snippets.labs.faults import network, packets
from snippets.labs.faults.clock import ClockStepsBack, FakeClock
from snippets.labs.faults.disk import DiskLoss, FullDisk
from snippets.labs.faults.interface import Fault, Medium
from snippets.labs.faults.loop import Loop
from snippets.labs.faults.plain import Plain
from snippets.labs.faults.power import PowerCut
from snippets.labs.faults.process import Kill, Pause, Terminate
from snippets.labs.faults.shim import Shim
from snippets.labs.plan import Expectation, LabPlan, PlannedCell
from snippets.labs.systems.interface import System
from snippets.labs.systems.kafka import QUICK, KafkaSystem
from snippets.labs.systems.kafka_outages import (
    OUTAGE_S,
    RunningDivided,
    RunningLastInSync,
    RunningWithoutFollowers,
)
from snippets.labs.systems.redis import DIVIDED_S, RedisSystem
from snippets.labs.systems.redis_sentinel import SentinelSystem
from snippets.labs.trial import Plan
from snippets.labs.workspace import Workspace
from snippets.servers.cache import root

QUESTION = (
    "After which faults, in which configurations, is an acknowledged value lost, stored "
    "twice or out of order, what becomes of the consumer group, and for how long is "
    "nothing acknowledged?"
)

WRITTEN = "the primary has handed the entry to its operating system"
AOF = {"save": "", "appendonly": "yes"}

NONE = RedisSystem("none", {"save": ""}, "the primary has the entry in memory")
RDB = RedisSystem(
    "rdb", {"save": "2 1"}, "the primary has the entry in memory; a snapshot comes later"
)
AOF_NO = RedisSystem("aof-no", {**AOF, "appendfsync": "no"}, WRITTEN)
AOF_NO_LONG = replace(AOF_NO, name="aof-no-long")
# A page of the file's end can be damaged, and no more.
AOF_NO_TAIL = replace(
    AOF_NO_LONG,
    name="aof-no-long-corrupt-tail",
    config={**AOF_NO.config, "aof-load-corrupt-tail-max-size": "4096"},
)
REDIS_LONG = (AOF_NO_LONG, AOF_NO_TAIL)
EVERYSEC = RedisSystem(
    "aof-everysec",
    {**AOF, "appendfsync": "everysec"},
    f"{WRITTEN}, which is asked to write it to disk within a second",
)
ALWAYS = RedisSystem(
    "aof-always", {**AOF, "appendfsync": "always"}, "the primary's disk has the entry"
)
WAITAOF = RedisSystem(
    "aof-everysec-waitaof",
    {**AOF, "appendfsync": "everysec"},
    "the primary's disk has the entry, as WAITAOF says",
    confirm=("WAITAOF", 1, 0, 3000),
)
REDIS = (NONE, RDB, AOF_NO, EVERYSEC, ALWAYS, WAITAOF)

REPLICA = replace(EVERYSEC, name="replica", replicas=1)
REPLICA_WAIT = replace(
    REPLICA,
    name="replica-wait",
    guarantee="the primary and one replica have the entry in memory",
    confirm=("WAIT", 1, 1000),
)
REDIS_PAIRS = (REPLICA, REPLICA_WAIT)

# Across a town or two; without it, a replica on the same machine has all at once.
LATENCY_MS = 20
FAR = replace(EVERYSEC, name="replica-far", replicas=1, latency_ms=LATENCY_MS)
FAR_WAIT = replace(REPLICA_WAIT, name="replica-far-wait", latency_ms=LATENCY_MS)
MAX_LAG_S = 2
FAR_MIN = replace(
    FAR,
    name="replica-far-min-1",
    config={
        **FAR.config,
        "min-replicas-to-write": "1",
        "min-replicas-max-lag": str(MAX_LAG_S),
    },
    guarantee=f"{WRITTEN}, and has heard of a replica within {MAX_LAG_S} seconds",
)
REDIS_FAR = (FAR, FAR_WAIT, FAR_MIN)

# On hosts of their own, between which packets are dropped, and nothing adds latency.
REPLICA_MIN = replace(
    REPLICA, name="replica-min-1", config=FAR_MIN.config, guarantee=FAR_MIN.guarantee
)
REDIS_APART = tuple(
    replace(each, apart=True) for each in (REPLICA, REPLICA_WAIT, REPLICA_MIN)
)

# The default is half a minute.
DOWN_AFTER_MS = 3000
SENTINEL = SentinelSystem(
    "sentinel",
    EVERYSEC.config,
    EVERYSEC.guarantee,
    replicas=2,
    down_after_ms=DOWN_AFTER_MS,
)
SENTINEL_WAIT = replace(
    SENTINEL,
    name="sentinel-wait",
    guarantee=REPLICA_WAIT.guarantee,
    confirm=REPLICA_WAIT.confirm,
)
REDIS_SENTINEL = (SENTINEL, SENTINEL_WAIT)
DIVIDED_SENTINEL = replace(SENTINEL, name="sentinel-divided", divided=True)
DIVIDED_SENTINEL_WAIT = replace(SENTINEL_WAIT, name="sentinel-divided-wait", divided=True)
REDIS_DIVIDED = (DIVIDED_SENTINEL, DIVIDED_SENTINEL_WAIT)

# A supervisor that restarts the primary is quicker than whoever would promote a replica.
RESTARTED = RedisSystem(
    "none-restarted-wait",
    NONE.config,
    REPLICA_WAIT.guarantee,
    confirm=REPLICA_WAIT.confirm,
    replicas=1,
    replica_config={"appendonly": "yes", "appendfsync": "always"},
    restarts=True,
)
RESTARTED_AOF = replace(RESTARTED, name="aof-restarted-wait", config=EVERYSEC.config)
REDIS_RESTARTED = (RESTARTED, RESTARTED_AOF)

IN_SYNC = "the brokers in sync have handed the record to their operating systems"
ON_DISK = "the brokers in sync have the record on disk"
FLUSH_ALL = {"log.flush.interval.messages": "1"}

DEFAULT = KafkaSystem("default", {}, IN_SYNC)
FLUSH_TOPIC = KafkaSystem("flush-topic", {}, ON_DISK, topic={"flush.messages": "1"})
FLUSH_BROKER = KafkaSystem("flush-broker", FLUSH_ALL, ON_DISK)
KAFKA = (DEFAULT, FLUSH_TOPIC, FLUSH_BROKER)

TWO_IN_SYNC = {"min.insync.replicas": "2"}
CLUSTER = KafkaSystem("cluster", {}, IN_SYNC, topic=TWO_IN_SYNC, brokers=3)
CLUSTER_FLUSH = replace(
    CLUSTER, name="cluster-flush-broker", config=FLUSH_ALL, guarantee=ON_DISK
)
KAFKA_CLUSTERS = (CLUSTER, CLUSTER_FLUSH)

LEADER_0 = replace(
    CLUSTER,
    name="cluster-leader-acks-0",
    guarantee="the client has handed the record to its operating system",
    acks="0",
    all_nodes=False,
)
LEADER_1 = replace(
    LEADER_0,
    name="cluster-leader-acks-1",
    guarantee="the leader has handed the record to its operating system",
    acks="1",
)
LEADER_ALL = replace(
    LEADER_0, name="cluster-leader-acks-all", guarantee=IN_SYNC, acks="all"
)
KAFKA_LEADERS = (LEADER_0, LEADER_1, LEADER_ALL)

# Whoever takes over has missed all.
LAST_IN_SYNC = KafkaSystem(
    "last-in-sync",
    {},
    "the only broker in sync has handed the record to its operating system",
    topic={"min.insync.replicas": "1", "unclean.leader.election.enable": "false"},
    brokers=3,
    replicas=2,
    controllers=1,
    all_nodes=False,
    kind=RunningLastInSync,
)
LAST_IN_SYNC_UNCLEAN = replace(
    LAST_IN_SYNC,
    name="last-in-sync-unclean",
    topic={**LAST_IN_SYNC.topic, "unclean.leader.election.enable": "true"},
)
MIN_1 = KafkaSystem(
    "two-of-three-die-min-1",
    {},
    IN_SYNC,
    topic={"min.insync.replicas": "1"},
    brokers=3,
    controllers=1,
    all_nodes=False,
    kind=RunningWithoutFollowers,
)
MIN_2 = replace(MIN_1, name="two-of-three-die-min-2", topic=TWO_IN_SYNC)
DIVIDED_1 = replace(
    MIN_2,
    name="leader-divided-acks-1",
    guarantee=LEADER_1.guarantee,
    acks="1",
    linked=True,
    kind=RunningDivided,
)
DIVIDED_ALL = replace(
    DIVIDED_1, name="leader-divided-acks-all", guarantee=IN_SYNC, acks="all"
)
KAFKA_DIVIDED = (DIVIDED_1, DIVIDED_ALL)
KAFKA_APART = tuple(replace(each, linked=False, apart=True) for each in KAFKA_DIVIDED)
KAFKA_OUTAGES = (LAST_IN_SYNC, LAST_IN_SYNC_UNCLEAN, MIN_1, MIN_2)

# One node goes, or is out of reach, and others go on: how long that takes is shown.
FAILOVER: Sequence[System] = (
    *REDIS_PAIRS,
    *REDIS_APART,
    *REDIS_FAR,
    *REDIS_SENTINEL,
    *REDIS_DIVIDED,
    *REDIS_RESTARTED,
    *KAFKA_LEADERS,
    *KAFKA_DIVIDED,
    *KAFKA_APART,
    *KAFKA_OUTAGES,
)

EXT4, XFS, SHIM = Loop("ext4"), Loop("xfs"), Shim()
CLOCK = FakeClock(Plain(root()))
MEDIA: Sequence[Medium] = (EXT4, XFS, SHIM)

LOADS = {"redis": (500.0, (3.5, 5.0)), "kafka": (300.0, (3.5, 5.0))}
# Linux writes out what is older than half a minute, looks for it each 5 s, and commits a
# size within 5 s more. What is appended to the same page after that comes much later.
LONG_LOAD_S = (41.0, 55.0)
QUICK_LOAD_S = (1.5, 2.5)
# For so long a time line shows what is again as before.
REST_S = 2.0
TRIALS = 5
# What is lost has a distribution: the window of `everysec`, and what is under way.
MANY_TRIALS = 20

# What a trial takes beside its load: start, restart, and reading to the end.
BESIDE_S = {"redis": 1.0, "kafka": 8.0}
BESIDE_CLUSTER_S = 25.0
# Longer than it takes Sentinels and controllers to give a silent node up.
PAUSE = Pause(10)
SENTINEL_S = 15.0


def _cell(system: System, fault: Fault, medium: Medium | None = None) -> PlannedCell:
    rate, load_s = LOADS[system.system]
    if system in REDIS_LONG:
        load_s = LONG_LOAD_S
    is_window = system.name == EVERYSEC.name and isinstance(fault, PowerCut | FullDisk)
    is_under_way = system == FAR and isinstance(fault, network.MachineLoss)
    cluster = isinstance(system, KafkaSystem) and system.brokers > 1
    beside = BESIDE_CLUSTER_S if cluster else BESIDE_S[system.system]
    if system in (*KAFKA_OUTAGES, *KAFKA_DIVIDED, *KAFKA_APART):
        beside += OUTAGE_S
    if fault == PAUSE:
        beside += PAUSE.seconds
    if system in (*REDIS_SENTINEL, *REDIS_DIVIDED):
        beside += SENTINEL_S
    return PlannedCell(
        system=system,
        fault=fault,
        medium=medium or Plain(root()),
        backend=medium.name if medium else "",
        plan=Plan(rate, load_s, rest_s=REST_S, time_line=True)
        if system in FAILOVER
        else Plan(rate, load_s),
        trials=MANY_TRIALS if is_window or is_under_way else TRIALS,
        trial_s=sum(load_s) / 2 + beside,
    )


def _power(systems: Iterable[System], media: Iterable[Medium]) -> list[PlannedCell]:
    return [
        _cell(system, PowerCut(medium), medium) for medium in media for system in systems
    ]


def _process(systems: Iterable[System], *faults: Fault) -> list[PlannedCell]:
    return [_cell(system, fault) for fault in faults for system in systems]


def _nothing(cells: str, *, control: bool = False) -> Expectation:
    return Expectation(cells, "nothing is lost", lambda trial: trial.lost == 0, control)


def _everything(cells: str, *, control: bool = False) -> Expectation:
    return Expectation(
        cells,
        "everything is lost",
        lambda trial: trial.lost >= trial.acknowledged,
        control,
    )


def _linked(
    systems: Iterable[System], *faults: Fault, backend: str = network.BACKEND
) -> list[PlannedCell]:
    return [
        replace(cell, backend=backend, trial_s=cell.trial_s + DIVIDED_S)
        for cell in _process(systems, *faults)
    ]


def _apart(systems: Iterable[System]) -> list[PlannedCell]:
    return _linked(systems, packets.PacketPartition(), backend=packets.BACKEND)


def _wrong_side(cells: str, *, control: bool = False) -> Expectation:
    return Expectation(
        cells,
        "what was acknowledged in the partition is lost",
        lambda trial: trial.lost >= trial.meanwhile * WRONG_SIDE > 0,
        control,
    )


EVERYSEC_MS = 2000
# What is under way takes 20 ms, and more on a busy machine.
UNDER_WAY_MS = 500
# So much at least of what is acknowledged until the repair is over is from before it: the
# new primary or leader may acknowledge some while the old one is made to follow.
WRONG_SIDE = 0.5
# Sentinels elect one of them, who tells a replica; each looks around once a second.
ELECTION_MS = 7000
# A primary counts its replicas each second.
REFUSES_S = MAX_LAG_S + 1.5

# What was under way can still be confirmed when a controller gives a broker up: another
# broker that is not given up yet had it.
GIVEN_UP_S = int(QUICK["broker.session.timeout.ms"]) / 1000

EXPECTATIONS = (
    Expectation(
        "*", "something was at stake", lambda t: t.acknowledged > 0, control=True
    ),
    Expectation("*", "no value appears from nowhere", lambda t: t.phantom == 0),
    _nothing("redis/aof-always/*", control=True),
    _everything("redis/none/*", control=True),
    _nothing("kafka/flush-broker/*", control=True),
    _nothing("redis/aof-no/sigkill"),
    # While a synchronisation lasts, `everysec` holds its writes back, two seconds at the
    # longest, and acknowledges them: on a busy disk, even a kill may find some in memory.
    Expectation(
        "redis/aof-everysec/sigkill",
        "what is lost is younger than two seconds",
        lambda trial: trial.oldest_lost_ms <= EVERYSEC_MS,
    ),
    _nothing("redis/aof-*/sigterm"),
    _nothing("redis/rdb/sigterm"),
    _everything("redis/aof-no/power-cut/*"),
    Expectation(
        "redis/aof-no-long*/power-cut/*",
        "what the kernel had written out by itself is left, and the rest is lost",
        lambda trial: 0 < trial.lost < trial.acknowledged,
    ),
    Expectation(
        "redis/aof-no-long-corrupt-tail/power-cut/*",
        "Redis starts on what is left",
        lambda trial: not trial.refused_start,
    ),
    Expectation(
        "redis/aof-everysec/power-cut/*",
        "what is lost is younger than two seconds",
        lambda trial: trial.oldest_lost_ms <= EVERYSEC_MS,
    ),
    _nothing("redis/aof-everysec-waitaof/*"),
    _nothing("redis/replica-wait/*"),
    _nothing("kafka/default/sig*"),
    _nothing("kafka/flush-*/sig*"),
    _nothing("kafka/cluster/sigkill"),
    _nothing("kafka/cluster-leader-acks-all/*"),
    _everything("kafka/default/power-cut/*"),
    _nothing("kafka/flush-topic/*"),
    Expectation(
        "kafka/flush-topic/power-cut/*",
        "the group's position is lost, and everything is delivered again",
        lambda trial: trial.group == "gone" and trial.redelivered > 0,
    ),
    Expectation(
        "redis/sentinel*/sigkill",
        "nothing is acknowledged until the primary is given up, and soon after",
        lambda trial: (
            DOWN_AFTER_MS <= trial.unavailable_s * 1000 <= DOWN_AFTER_MS + ELECTION_MS
        ),
    ),
    _nothing("redis/sentinel-wait/*"),
    _wrong_side("redis/sentinel-divided/*"),
    _nothing("redis/sentinel-divided-wait/*"),
    _everything("redis/none-restarted-wait/*"),
    _nothing("redis/aof-restarted-wait/*"),
    Expectation(
        "redis/replica-far/machine-loss/*",
        "what is lost was under way",
        lambda trial: trial.oldest_lost_ms <= UNDER_WAY_MS,
    ),
    _nothing("redis/replica-far-wait/*", control=True),
    _wrong_side("redis/replica-far/partition/*", control=True),
    _wrong_side("redis/replica/partition/*", control=True),
    _nothing("redis/replica-wait/partition/*", control=True),
    Expectation(
        "redis/replica-*min-1/partition/*",
        "writes are refused when the replica has been silent for too long",
        lambda trial: trial.unavailable_s >= DIVIDED_S - REFUSES_S,
    ),
    Expectation(
        "redis/replica-*min-1/partition/*",
        "what was acknowledged until then is lost",
        lambda trial: 0 < trial.meanwhile <= trial.lost <= LOADS["redis"][0] * REFUSES_S,
    ),
    _nothing("kafka/last-in-sync/*"),
    Expectation(
        "kafka/last-in-sync/*",
        "nobody leads until the last broker in sync is back",
        lambda trial: trial.unavailable_s >= OUTAGE_S,
    ),
    _everything("kafka/last-in-sync-unclean/*"),
    Expectation(
        "kafka/last-in-sync-unclean/*",
        "a broker that has missed all leads before",
        lambda trial: trial.meanwhile > 0 and trial.unavailable_s < OUTAGE_S,
    ),
    _nothing("kafka/two-of-three-die-*"),
    Expectation(
        "kafka/two-of-three-die-min-1/*",
        "the last broker goes on alone",
        lambda trial: trial.meanwhile > 0 and trial.unavailable_s < OUTAGE_S,
    ),
    Expectation(
        "kafka/two-of-three-die-min-2/*",
        "once the dead are given up, nothing is acknowledged until one of them is back",
        lambda trial: trial.unavailable_s >= OUTAGE_S - GIVEN_UP_S,
    ),
    _wrong_side("kafka/leader-divided-acks-1/*", control=True),
    _nothing("kafka/leader-divided-acks-all/*", control=True),
    _everything("kafka/cluster/power-cut/*"),
    _everything("redis/aof-everysec/disk-loss"),
    _everything("kafka/default/disk-loss"),
    _nothing("kafka/default/disk-full/*"),
    Expectation(
        "redis/aof-everysec/disk-full/*",
        "nothing is lost that was acknowledged before the disk was full",
        lambda trial: trial.oldest_lost_ms == 0,
    ),
    *[
        Expectation(
            f"{single}/pause-*",
            "nothing is acknowledged in the pause, and nothing is lost",
            lambda trial: trial.lost == 0 and trial.unavailable_s >= PAUSE.seconds,
        )
        for single in ("redis/aof-everysec", "kafka/default")
    ],
    Expectation(
        "*/pause-*",
        "others take over before the pause is over, if there are others",
        lambda trial: trial.unavailable_s >= PAUSE.seconds or trial.meanwhile > 0,
    ),
    Expectation(
        "*/clock-back-1-h/*",
        "nothing is lost, and what comes later stays behind what was before",
        lambda trial: trial.lost == trial.reordered == 0 and trial.group == "kept",
    ),
    _nothing("kafka/cluster-flush-broker/*"),
)


def full() -> LabPlan:
    """Return all cells of the lab."""
    cells = [
        *_process((*REDIS, *KAFKA), Terminate(), Kill()),
        *_power((*REDIS, *KAFKA), MEDIA),
        *_power(REDIS_LONG, [EXT4]),
        *_process((*REDIS_PAIRS, *KAFKA_LEADERS), Kill()),
        *_process((*REDIS_RESTARTED, *REDIS_SENTINEL), Kill()),
        *_linked((FAR, FAR_WAIT), network.MachineLoss()),
        *_linked((*REDIS_FAR, *REDIS_DIVIDED, *KAFKA_DIVIDED), network.Partition()),
        *_apart((*REDIS_APART, *KAFKA_APART)),
        *_process(KAFKA_OUTAGES, Kill()),
        *_power(REDIS_PAIRS, [EXT4]),
        *_process(KAFKA_CLUSTERS, Kill()),
        *_power(KAFKA_CLUSTERS, [EXT4, SHIM]),
        *[_cell(system, FullDisk(EXT4), EXT4) for system in (EVERYSEC, ALWAYS, DEFAULT)],
        *_process((EVERYSEC, REPLICA_WAIT, DEFAULT, LEADER_ALL), DiskLoss()),
        *_process((EVERYSEC, *REDIS_SENTINEL, DEFAULT, *KAFKA_LEADERS), PAUSE),
        # A broker does not get up within a minute under the library, so no Kafka here.
        _cell(ALWAYS, ClockStepsBack(CLOCK), CLOCK),
    ]
    return LabPlan("loss", QUESTION, cells, EXPECTATIONS)


def quick(place: Workspace) -> LabPlan:
    """Return the controls and the headlines, with one short trial each.

    Args:
        place: Where it is tried which medium works here.
    """
    loop = SHIM if PowerCut(EXT4).can_inject(place) else EXT4
    cannot_part = packets.PacketPartition().can_inject(place)
    headlines = (NONE, ALWAYS, AOF_NO, EVERYSEC, DEFAULT, FLUSH_TOPIC, FLUSH_BROKER)
    cells = [
        *_power(headlines, [loop]),
        *_process((EVERYSEC, DEFAULT), Kill()),
        *(_power((NONE, ALWAYS), [SHIM]) if loop is EXT4 else ()),
        *_process([RESTARTED], Kill()),
        *_linked((FAR, FAR_WAIT), network.MachineLoss()),
        *_linked([FAR], network.Partition()),
        *([] if cannot_part else _apart(REDIS_APART[:1])),
    ]
    short = [
        replace(cell, plan=replace(cell.plan, load_s=QUICK_LOAD_S), trials=1)
        for cell in cells
    ]
    return LabPlan("loss", QUESTION, short, EXPECTATIONS)
