"""Redis Streams, one module a task; and how all of them reach a server."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


def connect() -> Redis:
    """Connect to the Redis that `REDIS_URL` names, or else to `localhost:6379`.

    A client that sends a command again when its reply is lost stores an entry more than
    once. In redis-py 8.1 `Redis(...)` does so up to ten times, `Redis.from_url(...)` not
    at all. These examples say so instead of relying on it: the caller sees the error and
    decides.

    Returns:
        A client that speaks text (`decode_responses`) and repeats nothing.
    """
    return Redis.from_url(
        os.environ.get("REDIS_URL", "redis://localhost:6379"),
        decode_responses=True,
        retry=Retry(NoBackoff(), 0),
    )


@contextmanager
def temporary_stream(redis: Redis) -> Iterator[str]:
    """Name a stream for an example, and delete it afterwards.

    Args:
        redis: Where the stream will be.

    Yields:
        The stream's name, which no other key has.
    """
    stream = f"example-{uuid4().hex}"
    try:
        yield stream
    finally:
        redis.delete(stream)
