"""Kafka, one module a task; and how all of them reach a broker."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from kafka import KafkaAdminClient

# What kafka-python calls it, and the variable that a reader may set.
VARIABLES = {
    "bootstrap_servers": "KAFKA_BOOTSTRAP_SERVERS",
    "security_protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl_mechanism": "KAFKA_SASL_MECHANISM",
    "sasl_plain_username": "KAFKA_SASL_USERNAME",
    "sasl_plain_password": "KAFKA_SASL_PASSWORD",
    "ssl_cafile": "KAFKA_SSL_CAFILE",
    "ssl_certfile": "KAFKA_SSL_CERTFILE",
    "ssl_keyfile": "KAFKA_SSL_KEYFILE",
}

# What librdkafka calls it.
LIBRDKAFKA_NAMES = {
    "bootstrap_servers": "bootstrap.servers",
    "security_protocol": "security.protocol",
    "sasl_mechanism": "sasl.mechanism",
    "sasl_plain_username": "sasl.username",
    "sasl_plain_password": "sasl.password",
    "ssl_cafile": "ssl.ca.location",
    "ssl_certfile": "ssl.certificate.location",
    "ssl_keyfile": "ssl.key.location",
}


def settings(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the connection settings for kafka-python's clients.

    Args:
        environ: Where the `KAFKA_*` variables are looked up. The address is
            `localhost:9092` if `KAFKA_BOOTSTRAP_SERVERS` is not set.

    Returns:
        Keyword arguments of `KafkaProducer`, `KafkaConsumer` and `KafkaAdminClient`.
    """
    found = {name: environ[key] for name, key in VARIABLES.items() if environ.get(key)}
    return {"bootstrap_servers": "localhost:9092"} | found


def confluent_settings(environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Return the connection settings for confluent-kafka's clients.

    Args:
        environ: As for `settings`.

    Returns:
        The configuration by librdkafka's names, such as `bootstrap.servers`.
    """
    return {LIBRDKAFKA_NAMES[name]: value for name, value in settings(environ).items()}


@contextmanager
def temporary_topic(*, partitions: int = 1) -> Iterator[str]:
    """Create a topic for an example, and delete it afterwards.

    Args:
        partitions: How many partitions it has.

    Yields:
        The topic's name, which no other topic has.
    """
    topic = f"example-{uuid4().hex}"
    with KafkaAdminClient(**settings()) as admin:
        admin.create_topics(
            {topic: {"num_partitions": partitions}},
            wait_for_metadata=True,
        )
        try:
            yield topic
        finally:
            admin.delete_topics([topic])
