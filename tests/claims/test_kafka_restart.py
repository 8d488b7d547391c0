"""What is left of a topic when brokers have been killed."""

import itertools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, closing

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import NotEnoughReplicasError

from snippets import servers
from snippets.kafka.append import append
from snippets.servers.ready import until_kafka_answers
from tests.ledger import claim
from tests.replicas import PATIENCE_S, create_topic, until_in_sync

OwnKafka = Callable[..., AbstractContextManager[servers.Kafka]]

ACKNOWLEDGED = 200

# A dead broker is noticed after this long; the default is nine seconds.
QUICK = {"broker.session.timeout.ms": "3000", "broker.heartbeat.interval.ms": "500"}


def append_all(server: servers.Kafka) -> list[str]:
    """Append one record after the other; return those that were acknowledged."""
    numbers = [str(number) for number in range(ACKNOWLEDGED)]
    with KafkaProducer(**server.settings) as producer:
        for number in numbers:
            append(producer, "orders", {"n": number})
    return numbers


def read_all(server: servers.Kafka, count: int) -> list[str]:
    """Read so many records from the beginning, or fail."""
    with KafkaConsumer(
        "orders",
        auto_offset_reset="earliest",
        consumer_timeout_ms=int(PATIENCE_S * 1000),
        **server.settings,
    ) as consumer:
        return [json.loads(each.value)["n"] for each in itertools.islice(consumer, count)]


@claim(servers="kafka", since="2.8")
def test_kafka_loses_nothing_when_the_process_is_killed(own_kafka: OwnKafka) -> None:
    """Killing the process of a single Kafka broker loses no acknowledged record: each was
    handed to the operating system before its acknowledgement.
    """
    with own_kafka(config=QUICK) as server:
        acknowledged = append_all(server)
        (broker,) = server.brokers
        broker.kill()
        broker.start()
        until_kafka_answers(server.settings, brokers=1, alive=lambda: None)
        assert read_all(server, ACKNOWLEDGED) == acknowledged


@claim(servers="kafka", since="2.8")
def test_kafka_three_replicas_survive_two_killed_brokers(own_kafka: OwnKafka) -> None:
    """With three replicas in sync and `acks=all`, killing two of three Kafka brokers
    loses no acknowledged record: as long as the controllers live, the third serves all.
    """
    with own_kafka(brokers=3, controllers=1, config=QUICK) as server:
        create_topic(server, replicas=3, min_insync=1)
        acknowledged = append_all(server)
        for broker in server.brokers[:2]:
            broker.kill()
        assert read_all(server, ACKNOWLEDGED) == acknowledged


@claim(servers="kafka", since="2.8")
def test_kafka_refuses_writes_below_min_insync_replicas(own_kafka: OwnKafka) -> None:
    """With `min.insync.replicas=2` and one of three replicas left, Kafka refuses writes
    with `acks=all`, and has lost nothing when a second broker is back.
    """
    with own_kafka(brokers=3, controllers=1, config=QUICK) as server:
        create_topic(server, replicas=3, min_insync=2)
        acknowledged = append_all(server)
        for broker in server.brokers[:2]:
            broker.kill()
        until_in_sync(server, 1)
        # Without idempotence and retries, the broker's own answer comes through.
        impatient = {"enable_idempotence": False, "retries": 0, "acks": "all"}
        with (
            closing(KafkaProducer(**impatient, **server.settings)) as producer,
            pytest.raises(NotEnoughReplicasError),
        ):
            append(producer, "orders", {"n": "refused"})
        server.brokers[0].start()
        until_in_sync(server, 2)
        assert read_all(server, ACKNOWLEDGED) == acknowledged
