"""Servers that speak TLS only, ask for a password, and refuse what nobody has allowed.

A certificate authority that nobody else trusts is made on the spot, with a certificate
for this machine's loopback. Its key is never written: it can sign nothing more.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from snippets.servers.choice import Way, kafka, redis
from snippets.servers.interface import Kafka, Redis
from snippets.servers.run import current_run

HOSTS = ("127.0.0.1", "localhost")
LOGIN_MODULES = "org.apache.kafka.common.security"
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"


@dataclass(frozen=True)
class Certificates:
    """Files in PEM form.

    Attributes:
        authority: The certificate of the authority, for clients.
        server: A server's key with its certificate.
    """

    authority: Path
    server: Path


def _pkcs8(key: bytes) -> bytes:
    """Return a key in the one form of PEM that Kafka takes."""
    return load_pem_private_key(key, password=None).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )


@contextmanager
def certificates() -> Iterator[Certificates]:
    """Make an authority and a server's certificate, for as long as the block lasts."""
    folder = current_run().new_folder("certificates")
    made = Certificates(folder / "authority.pem", folder / "server.pem")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(made.authority)
    leaf = authority.issue_cert(*HOSTS)
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    made.server.write_bytes(_pkcs8(leaf.private_key_pem.bytes()) + chain)
    try:
        yield made
    finally:
        current_run().forget(folder)


def redis_options(made: Certificates) -> dict[str, Any]:
    """Return the options of `snippets.servers.redis` for TLS and a password.

    The client is `default`, the user whom Redis allows everything.
    """
    password = secrets.token_urlsafe()
    client = {
        "username": "default",
        "password": password,
        "ssl_ca_certs": str(made.authority),
    }
    config = {
        "requirepass": password,
        "tls-cert-file": str(made.server),
        "tls-key-file": str(made.server),
        # Passwords tell the clients apart; a certificate of their own would be the other
        # way.
        "tls-auth-clients": "no",
    }
    return {"config": config, "client": client, "files": [made.server]}


def kafka_options(made: Certificates) -> dict[str, Any]:
    """Return the options of `snippets.servers.kafka` for TLS, SASL and ACLs.

    The client is `admin`, who may do everything. His password stands in the settings of
    the brokers (PLAIN); everybody else's is kept by them as a salted hash (SCRAM).
    """
    password = secrets.token_urlsafe()
    client = {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "admin",
        "sasl_plain_password": password,
        "ssl_cafile": str(made.authority),
    }
    plain = f'{LOGIN_MODULES}.plain.PlainLoginModule required user_admin="{password}";'
    scram = f"{LOGIN_MODULES}.scram.ScramLoginModule required;"
    config = {
        "authorizer.class.name": AUTHORIZER,
        # The nodes don't tell one another who they are.
        "super.users": "User:admin;User:ANONYMOUS",
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "listener.name.client.plain.sasl.jaas.config": plain,
        "listener.name.client.scram-sha-512.sasl.jaas.config": scram,
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(made.server),
    }
    return {"config": config, "client": client, "files": [made.server]}


@contextmanager
def secure_redis(*, way: Way | None = None) -> Iterator[Redis]:
    """Run a Redis that speaks TLS only and asks for a password.

    Args:
        way: How to get it; what `choose` says if left out.

    Yields:
        The server; its URL is that of a user who may do everything.

    Raises:
        ServersError: It can't be had in this way, or doesn't answer in time.
    """
    with certificates() as made, redis(way=way, **redis_options(made)) as server:
        yield server


@contextmanager
def secure_kafka(*, way: Way | None = None) -> Iterator[Kafka]:
    """Run a Kafka that speaks TLS only, asks for a password, and goes by ACLs.

    Args:
        way: How to get it; what `choose` says if left out.

    Yields:
        The broker; its settings are those of a user who may do everything.

    Raises:
        ServersError: It can't be had in this way, or doesn't answer in time.
    """
    with certificates() as made, kafka(way=way, **kafka_options(made)) as server:
        yield server
