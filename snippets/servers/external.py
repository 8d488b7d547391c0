"""Servers of yours: nothing is started, and nothing can be made to fail."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from snippets.kafka import settings
from snippets.servers.choice import ADDRESS
from snippets.servers.errors import ServersError
from snippets.servers.interface import Custom, Kafka, Redis
from snippets.servers.ready import until_kafka_answers, until_redis_answers

# Looking up a name that doesn't exist can take some seconds more.
PATIENCE_S = 4.0
PASSWORD = re.compile(r"(?<=//)[^@/\s]*@")


def _address(system: str, *, special: bool, custom: Custom) -> str:
    variable = ADDRESS[system]
    address = os.environ.get(variable)
    if not address:
        raise ServersError(
            f"SERVERS=external needs the address of your server in {variable}, "
            "which is not set."
        )
    if special or custom:
        raise ServersError(
            "this needs a server of a certain release, or with nodes or settings of its "
            f"own, which the one in {variable} is not. "
            "Run it with SERVERS=local or SERVERS=containers."
        )
    return address


def _alive() -> None:
    """A server of yours may be about to answer for as long as we wait."""


@contextmanager
def redis(
    *, version: str | None, masters: int, replicas: int, custom: Custom
) -> Iterator[Redis]:
    """Use the Redis in `REDIS_URL`; see `snippets.servers.redis`."""
    special = version is not None or masters > 1 or replicas > 0
    url = _address("redis", special=special, custom=custom)
    try:
        version = until_redis_answers(url, patience_s=PATIENCE_S, alive=_alive)
    except (ServersError, ValueError) as error:
        shown = PASSWORD.sub("***@", url)
        raise ServersError(
            f"REDIS_URL={shown} does not work: {PASSWORD.sub('***@', str(error))}"
        ) from None
    yield Redis("external", version, [url])


@contextmanager
def kafka(
    *, version: str | None, brokers: int, controllers: int, custom: Custom
) -> Iterator[Kafka]:
    """Use the Kafka in `KAFKA_BOOTSTRAP_SERVERS`; see `snippets.servers.kafka`."""
    special = version is not None or brokers > 1 or controllers > 0
    address = _address("kafka", special=special, custom=custom)
    try:
        version = until_kafka_answers(
            settings(), brokers=1, patience_s=PATIENCE_S, alive=_alive
        )
    except (ServersError, ValueError) as error:
        raise ServersError(
            f"KAFKA_BOOTSTRAP_SERVERS={address} does not work: {error}"
        ) from error
    yield Kafka("external", version, address, settings=settings())
