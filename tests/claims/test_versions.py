"""Claims about releases: the probes that the lab on versions has put to each of them."""

from collections.abc import Mapping
from functools import partial

from snippets.labs.versions.probe import Verdict
from tests.ledger import claim as any_claim

Answers = Mapping[str, Verdict]
YES, NO = Verdict.YES, Verdict.NO

claim = partial(any_claim, lab="versions")


def of(answers: Answers, column: str) -> set[Verdict]:
    """Return what a server or library has said to all that the claim is about."""
    found = {said for name, said in answers.items() if name.rpartition("/")[0] == column}
    assert found, f"{column} was not asked"
    return found


@claim(
    servers="redis",
    since="7.0",
    cells=[
        "redis/*/partial-id",
        "redis/*/group-lag",
        "redis/*/entries-read",
        "redis/*/xautoclaim-deleted",
        "redis/*/acl-read-only-key",
    ],
)
def test_redis_lag_and_partial_ids_need_seven(answers: Answers) -> None:
    """Redis 7.0.15 counts the `lag` of a group, takes `ENTRIESREAD`, `XADD <ms>-*` and
    `%R~` rules, and drops deleted entries in `XAUTOCLAIM`; Redis 6.2.14 does none of it.
    """
    assert of(answers, "redis/6.2.14") == {NO}
    assert of(answers, "redis/7.0.15") == {YES}


@claim(servers="redis", since="7.2", cells=["redis/*/waitaof"])
def test_redis_waitaof_is_missing_in_seven(answers: Answers) -> None:
    """Redis 7.0.15 has no `WAITAOF`; Redis 8.2.3 and Valkey 9.0.0 have it."""
    assert of(answers, "redis/7.0.15") == {NO}
    assert of(answers, "redis/8.2.3") == of(answers, "redis/valkey-9.0.0") == {YES}


@claim(
    servers="redis",
    since="8.2",
    cells=["redis/*/xdelex", "redis/*/xackdel", "redis/*/trim-acked"],
)
def test_redis_deletes_by_acknowledgement_since_eight_two(answers: Answers) -> None:
    """Redis 8.2.3 has `XDELEX`, `XACKDEL` and `XTRIM … ACKED`; Redis 7.0.15 has none of
    them.
    """
    assert of(answers, "redis/7.0.15") == {NO}
    assert of(answers, "redis/8.2.3") == of(answers, "redis/8.10.2") == {YES}


@claim(servers="redis", since="8.4", cells=["redis/*/trim-acked-about"])
def test_redis_eight_two_trims_nothing_by_an_approximate_acked_bound(
    answers: Answers,
) -> None:
    """Redis 8.2.3 takes `XTRIM … MAXLEN ~ … ACKED` and deletes nothing, though the groups
    have acknowledged everything; Redis 8.6.2 deletes.
    """
    assert of(answers, "redis/8.2.3") == {NO}
    assert of(answers, "redis/8.6.2") == {YES}


@claim(
    servers="redis",
    since="8.6",
    cells=["redis/*/xreadgroup-claim", "redis/*/xadd-idmp", "redis/*/xcfgset"],
)
def test_redis_claim_and_idmp_are_missing_in_eight_two(answers: Answers) -> None:
    """Redis 8.6.2 has `XREADGROUP … CLAIM`, `XADD … IDMP` and `XCFGSET`; Redis 8.2.3 has
    none of them.
    """
    assert of(answers, "redis/8.2.3") == {NO}
    assert of(answers, "redis/8.6.2") == of(answers, "redis/8.10.2") == {YES}


@claim(
    servers="redis",
    since="8.10",
    cells=["redis/*/xnack", "redis/*/maxcount", "redis/*/maxsize"],
)
def test_redis_xnack_and_maxcount_are_missing_in_eight_six(answers: Answers) -> None:
    """Redis 8.10.2 has `XNACK`, `MAXCOUNT` and `MAXSIZE`; Redis 8.6.2 has none of
    them.
    """
    assert of(answers, "redis/8.6.2") == {NO}
    assert of(answers, "redis/8.10.2") == {YES}


@claim(
    servers="redis",
    since="8.10",
    cells=[
        f"redis/valkey-*/{name}"
        for name in (
            *("xdelex", "xackdel", "trim-acked", "xreadgroup-claim", "xadd-idmp"),
            *("xcfgset", "xnack", "maxcount", "maxsize"),
        )
    ],
)
def test_redis_streams_of_eight_two_and_later_are_missing_in_valkey(
    answers: Answers,
) -> None:
    """Valkey 9.0.0 and 9.1.2 have nothing that Redis has added to streams from 8.2 on: no
    `XDELEX`, `XACKDEL`, `ACKED`, `CLAIM`, `IDMP`, `XCFGSET`, `XNACK`, `MAXCOUNT` or
    `MAXSIZE`.
    """
    assert set(answers.values()) == {NO}


@claim(
    servers="redis",
    since="7.4",
    cells=[
        f"redis/valkey-*/{name}"
        for name in (
            *("xautoclaim", "minid", "partial-id", "group-lag", "entries-read"),
            *("xautoclaim-deleted", "waitaof", "xread-last", "hexpire", "set-ifeq"),
        )
    ],
)
def test_redis_streams_of_seven_are_there_in_valkey(answers: Answers) -> None:
    """Valkey 9.0.0 and 9.1.2 have what the streams of Redis 7 have, `WAITAOF` and
    `XREAD … +` too, and `HEXPIRE` and `SET … IFEQ` beside them.
    """
    assert set(answers.values()) == {YES}


@claim(
    servers="kafka",
    since="4.0",
    cells=["kafka/*/consumer-protocol", "kafka/*/transactions-2"],
)
def test_kafka_new_group_protocol_needs_four(answers: Answers) -> None:
    """Kafka 4.0.2 serves groups of `group.protocol=consumer` and has transactions of
    version 2 as it comes; Kafka 3.9.2 has neither.
    """
    assert of(answers, "kafka/3.9.2") == {NO}
    assert of(answers, "kafka/4.0.2") == {YES}


@claim(servers="kafka", since="4.0", cells=["kafka/*/zookeeper", "kafka/*/old-clients"])
def test_kafka_four_drops_zookeeper_and_old_clients(answers: Answers) -> None:
    """Kafka 3.9.2 has settings for ZooKeeper and takes `Fetch` of version 0; Kafka 4.0.2
    has none, and takes nothing below version 4.
    """
    assert of(answers, "kafka/3.9.2") == {YES}
    assert of(answers, "kafka/4.0.2") == {NO}


@claim(servers="kafka", since="4.2", cells=["kafka/*/share-groups"])
def test_kafka_share_groups_work_from_the_start_since_four_two(answers: Answers) -> None:
    """A new Kafka 4.2.2 serves share groups as it comes; a new Kafka 4.1.2 does not."""
    assert of(answers, "kafka/4.1.2") == {NO}
    assert of(answers, "kafka/4.2.2") == of(answers, "kafka/4.4.0") == {YES}


@claim(servers="kafka", since="4.1", cells=["kafka/*/share-groups-switched-on"])
def test_kafka_four_one_serves_share_groups_when_told_to(answers: Answers) -> None:
    """Kafka 4.1.2 serves share groups once `share.version` is 1; Kafka 4.0.2 refuses to
    set it.
    """
    assert of(answers, "kafka/4.0.2") == {NO}
    assert of(answers, "kafka/4.1.2") == {YES}


@claim(servers="kafka", since="4.1", cells=["kafka/*/eligible-leaders"])
def test_kafka_eligible_leaders_are_on_from_four_one(answers: Answers) -> None:
    """A new Kafka 4.1.2 keeps eligible leader replicas as it comes; a new Kafka 4.0.2
    does not.
    """
    assert of(answers, "kafka/4.0.2") == {NO}
    assert of(answers, "kafka/4.1.2") == {YES}


@claim(servers="kafka", since="4.4", cells=["kafka/*/share-dead-letter"])
def test_kafka_share_group_dead_letters_need_four_four(answers: Answers) -> None:
    """Kafka 4.4.0 stores what a share group rejects in a topic for dead letters; Kafka
    4.3.1 knows no such setting.
    """
    assert of(answers, "kafka/4.3.1") == {NO}
    assert of(answers, "kafka/4.4.0") == {YES}


@claim(
    servers="kafka",
    since="4.0",
    cells=["library/*/new-group", "library/*/share-group"],
)
def test_kafka_new_groups_are_there_in_confluent_kafka_only(answers: Answers) -> None:
    """Of kafka-python 3.0.12, confluent-kafka 2.16.1 and aiokafka 0.14.0, only
    confluent-kafka joins groups of `group.protocol=consumer` and share groups.
    """
    assert of(answers, "library/confluent-kafka") == {YES}
    for other in ("kafka-python", "aiokafka"):
        assert of(answers, f"library/{other}") == {NO}


@claim(servers="kafka", since="2.3", cells=["library/*/one-setting"])
def test_kafka_aiokafka_resets_the_settings_that_it_does_not_name(
    answers: Answers,
) -> None:
    """To change one setting of a topic, aiokafka 0.14.0 resets the others; kafka-python
    3.0.12 and confluent-kafka 2.16.1 leave them alone.
    """
    assert of(answers, "library/aiokafka") == {NO}
    for other in ("kafka-python", "confluent-kafka"):
        assert of(answers, f"library/{other}") == {YES}
