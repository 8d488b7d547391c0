"""The log that both systems offer, and what else the tests of several tasks take."""

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient
from redis import Redis

from snippets.kafka import settings
from tests.tasks.logs import Log, kafka_log, redis_log


@pytest.fixture(params=[redis_log, kafka_log], ids=["redis_streams", "kafka"])
def log(
    request: pytest.FixtureRequest,
    redis: Redis,  # noqa: ARG001
    kafka_environment: None,  # noqa: ARG001
) -> Iterator[Log]:
    """A stream, and then a topic of one partition, that only this test uses."""
    with request.param() as log:
        yield log


@pytest.fixture
def admin(kafka_environment: None) -> Iterator[KafkaAdminClient]:  # noqa: ARG001
    """An admin client of the shared Kafka."""
    with KafkaAdminClient(**settings()) as admin:
        yield admin
