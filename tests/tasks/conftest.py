"""The log that both systems offer, for what both promise."""

from collections.abc import Iterator

import pytest
from redis import Redis

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
