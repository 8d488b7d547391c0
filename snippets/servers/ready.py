"""Wait until a server answers, and learn which version it is."""

import socket
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import redis
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from snippets.kafka import LIBRDKAFKA_NAMES
from snippets.servers.errors import ServersError

# A start takes one or two seconds; a machine with other work may stretch it twentyfold.
PATIENCE_S = 60.0
POLL_S = 0.01

REFUSAL_S = 2.0


def attempts(patience_s: float) -> Iterator[float]:
    """Yield at short intervals until the time is up, once at the least.

    Args:
        patience_s: How many seconds to go on.

    Yields:
        How many seconds are left.
    """
    deadline = time.monotonic() + patience_s
    left = patience_s
    while left > 0:
        yield left
        time.sleep(POLL_S)
        left = deadline - time.monotonic()


def until_redis_answers(
    url: str, *, patience_s: float = PATIENCE_S, alive: Callable[[], None]
) -> str:
    """Wait until Redis answers commands.

    Args:
        url: The server's URL.
        patience_s: How many seconds to wait at the longest.
        alive: Raises if waiting has become pointless, as the process has ended.

    Returns:
        The server's version, as `REDIS_RELEASES` has it.

    Raises:
        ServersError: It doesn't answer in time, or refuses us.
    """
    last: Exception | None = None
    for left in attempts(patience_s):
        alive()
        try:
            with redis.Redis.from_url(
                url, retry=None, socket_timeout=left, socket_connect_timeout=left
            ) as client:
                # While it loads its data, it answers `INFO` and refuses all else.
                client.ping()
                told = client.info("server")
                # Valkey tells a version of Redis too, the one that it began with.
                valkey = told.get("valkey_version")
                return f"valkey-{valkey}" if valkey else str(told["redis_version"])
        except redis.AuthenticationError as error:
            raise ServersError(f"Redis at {url} refuses us: {error}") from error
        except (redis.ConnectionError, redis.TimeoutError) as error:
            last = error
        except redis.RedisError as error:
            raise ServersError(f"Redis at {url} refuses us: {error}") from error
    raise ServersError(f"no Redis answered at {url} within {patience_s:g} s: {last}")


def until_replica_follows(
    url: str, *, patience_s: float = PATIENCE_S, alive: Callable[[], None]
) -> None:
    """Wait until a Redis replica has its primary's data and receives its writes.

    Args:
        url: The replica's URL.
        patience_s: How many seconds to wait at the longest.
        alive: Raises if waiting has become pointless, as the process has ended.

    Raises:
        ServersError: It doesn't in time.
    """
    until_redis_answers(url, patience_s=patience_s, alive=alive)
    with redis.Redis.from_url(url) as client:
        for _ in attempts(patience_s):
            alive()
            if client.info("replication")["master_link_status"] == "up":
                return
    raise ServersError(f"the Redis at {url} follows no primary after {patience_s:g} s")


def until_kafka_answers(
    settings: Mapping[str, Any],
    *,
    brokers: int,
    patience_s: float = PATIENCE_S,
    alive: Callable[[], None],
) -> str:
    """Wait until all brokers of a Kafka cluster are registered and answer.

    Args:
        settings: The connection settings for kafka-python.
        brokers: How many brokers there are to be, at the least.
        patience_s: How many seconds to wait at the longest.
        alive: Raises if waiting has become pointless, as a process has ended.

    Returns:
        The release line that a broker's protocol shows, such as `4.3`.

    Raises:
        ServersError: They don't answer in time, or refuse us.
    """
    addresses = settings["bootstrap_servers"]
    last: Exception | None = None
    for left in attempts(patience_s):
        alive()
        try:
            # kafka-python logs a warning at each refused connection, so knock first.
            for address in addresses.split(","):
                _knock(address, left)
            with KafkaAdminClient(
                **settings, bootstrap_timeout_ms=int(left * 1000)
            ) as admin:
                found = admin.describe_cluster()["brokers"]
                if len(found) >= brokers:
                    data = admin.get_broker_version_data(found[0]["broker_id"])
                    return str(data.broker_version_str)
        except OSError as error:
            last = error
        except KafkaError as error:
            last = error
            if reason := refusal(settings):
                last = KafkaError(reason)
    raise ServersError(
        f"no Kafka of {brokers} broker(s) answered at {addresses} "
        f"within {patience_s:g} s: {last}"
    )


def refusal(settings: Mapping[str, Any]) -> str:
    """Return why a broker refuses us, such as for a wrong password; empty if it doesn't.

    kafka-python tells nothing but that time is up, and often loses the reason, which
    arrives together with the end of the connection. So another client is asked.
    """
    from confluent_kafka.admin import AdminClient

    told: list[str] = []
    config = {LIBRDKAFKA_NAMES[name]: value for name, value in settings.items()}
    config |= {"error_cb": lambda error: told.append(error.str()), "log_level": 0}
    client = AdminClient(config)
    for _ in attempts(REFUSAL_S):
        client.poll(POLL_S)
        if told:
            return told[0]
    return ""


def _knock(address: str, patience_s: float) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise ServersError(f"{address!r} is not an address of the form host:port")
    socket.create_connection((host, int(port)), timeout=patience_s).close()
