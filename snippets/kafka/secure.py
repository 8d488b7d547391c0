"""Give each program a user of its own that may do one job on one topic, over TLS.

Example:
    ```py
    from kafka import KafkaAdminClient, KafkaProducer

    from snippets.kafka import settings, temporary_topic
    from snippets.kafka.secure import (
        allow_producer,
        remove_user,
        secure_settings,
        set_password,
    )

    with KafkaAdminClient(**settings()) as admin, temporary_topic() as orders:
        set_password(admin, "web", "a long secret")
        allow_producer(admin, "web", orders)
        web = secure_settings("web", "a long secret", settings()["ssl_cafile"])
        with KafkaProducer(**settings() | web) as producer:
            print(producer.send(orders, b"order 17").get(timeout=10).offset)
            #> 0
        print(remove_user(admin, "web"))
        #> True
    ```
"""

# --8<-- [start:imports]
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.errors import KafkaError, NoError

# --8<-- [end:imports]
# isort: split
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from uuid import uuid4

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from snippets.kafka import settings, temporary_topic


# --8<-- [start:secure_settings]
def secure_settings(user: str, password: str, ca_file: str | None) -> dict[str, Any]:
    """Return the settings of a client that proves a password to the right brokers only.

    Each broker has to prove, before it is told anything, that it is the host which the
    client has asked for, by a certificate of an authority that you trust. SCRAM then
    proves the password without sending it.

    Args:
        user: The user's name.
        password: The user's password.
        ca_file: The authority's certificate, a file in PEM form; with `None`, those that
            this machine trusts.

    Returns:
        Keyword arguments for kafka-python's clients, beside `bootstrap_servers`.

    Raises:
        ValueError: The user or the password is empty.

    Source:
        https://kafka.apache.org/43/security/authentication-using-sasl/
    """
    if not user or not password:
        raise ValueError("a secure client needs a user and a password")
    return {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": user,
        "sasl_plain_password": password,
        "ssl_check_hostname": True,
        "ssl_cafile": ca_file,
    }


# --8<-- [end:secure_settings]


# --8<-- [start:set_password]
def set_password(admin: KafkaAdminClient, user: str, password: str) -> None:
    """Create a user that may do nothing yet, or give the one there is a new password.

    Connections that are open stay open, whatever password they were opened with.

    Args:
        admin: A client that may `ALTER` the cluster.
        user: The user's name.
        password: The only one that is good from now on. The brokers get, and keep, a
            salted hash of it.

    Raises:
        ValueError: The password is empty, which Kafka would take.
        kafka.errors.KafkaError: The name is empty, or the brokers refuse it.

    Source:
        https://kafka.apache.org/43/security/authentication-using-sasl/
    """
    if not password:
        raise ValueError(f"the password of {user!r} is empty")
    changed = UserScramCredentialUpsertion(user, "SCRAM-SHA-512", password)
    error = admin.alter_user_scram_credentials([changed])[user]
    if error:
        raise KafkaError(f"the password of {user!r} is not set: {error}")


# --8<-- [end:set_password]


# --8<-- [start:allow_producer]
def allow_producer(admin: KafkaAdminClient, user: str, topic: str) -> None:
    """Let a user append to one topic, beside what it may do already.

    It holds as soon as every broker has heard of it, on open connections too.

    Args:
        admin: A client that may `ALTER` the cluster.
        user: The user's name; it can't log in before it has a password.
        topic: The topic's name; it need not exist yet.

    Raises:
        ValueError: A name is empty or `*`, which would be all users or all topics.
        kafka.errors.SecurityDisabledError: The brokers have no authorizer: they allow
            everybody everything.

    Source:
        https://kafka.apache.org/43/security/authorization-and-acls/
    """
    if not {user, topic}.isdisjoint({"", "*"}):
        raise ValueError(f"not the name of one user and one topic: {user!r}, {topic!r}")
    everywhere, allow = "*", ACLPermissionType.ALLOW
    resource = ResourcePattern(ResourceType.TOPIC, topic)
    wanted = [ACL(f"User:{user}", everywhere, ACLOperation.WRITE, allow, resource)]
    for error in admin.create_acls(wanted)["failed"]:
        raise error(f"{user!r} can't be allowed to append to {topic!r}")


# --8<-- [end:allow_producer]


# --8<-- [start:allow_consumer]
def allow_consumer(admin: KafkaAdminClient, user: str, topic: str, group: str) -> None:
    """Let a user consume one topic in one group, beside what it may do already.

    It holds as soon as every broker has heard of it, on open connections too.

    Args:
        admin: A client that may `ALTER` the cluster.
        user: The user's name; it can't log in before it has a password.
        topic: The topic's name; it need not exist yet.
        group: The group's ID.

    Raises:
        ValueError: A name is empty or `*`, which would be all of them.
        kafka.errors.SecurityDisabledError: The brokers have no authorizer: they allow
            everybody everything.

    Source:
        https://kafka.apache.org/43/security/authorization-and-acls/
    """
    if not {user, topic, group}.isdisjoint({"", "*"}):
        raise ValueError(f"not the name of one of each: {user!r}, {topic!r}, {group!r}")
    everywhere, allow = "*", ACLPermissionType.ALLOW
    resources = [
        ResourcePattern(ResourceType.TOPIC, topic),
        ResourcePattern(ResourceType.GROUP, group),
    ]
    wanted = [
        ACL(f"User:{user}", everywhere, ACLOperation.READ, allow, resource)
        for resource in resources
    ]
    for error in admin.create_acls(wanted)["failed"]:
        raise error(f"{user!r} can't be allowed to read {topic!r} as {group!r}")


# --8<-- [end:allow_consumer]


# --8<-- [start:remove_user]
def remove_user(admin: KafkaAdminClient, user: str) -> bool:
    """Take away what a user was allowed, and then its password.

    Its connections stay open: without rights they are good for nothing.

    Args:
        admin: A client that may `ALTER` the cluster.
        user: The user's name.

    Returns:
        Whether the broker that was asked knew such a user; it hears of a removal a moment
        later.

    Raises:
        kafka.errors.SecurityDisabledError: The brokers have no authorizer.

    Source:
        https://kafka.apache.org/43/security/authorization-and-acls/
    """
    anything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    its_own = ACLFilter(
        f"User:{user}", None, ACLOperation.ANY, ACLPermissionType.ANY, anything
    )
    for _, _, error in admin.delete_acls([its_own]):
        if error is not NoError:
            raise error(f"the rights of {user!r} can't be taken away")
    known = admin.describe_user_scram_credentials([user])[user]["error"] is None
    if known:
        password = UserScramCredentialDeletion(user, "SCRAM-SHA-512")
        admin.alter_user_scram_credentials([password])
    return known


# --8<-- [end:remove_user]


def demo() -> None:
    """Make a producer and a consumer; let each try its own job, and the other's."""
    with (
        KafkaAdminClient(**settings()) as admin,
        temporary_topic() as orders,
        temporary_topic() as payments,
        ExitStack() as stack,
    ):
        # It needs brokers with TLS and ACLs, such as one that
        # `python -m snippets.servers --secure` starts.
        place = {"bootstrap_servers": settings()["bootstrap_servers"]}
        ca_file = settings()["ssl_cafile"]
        web, billing, secret = f"web-{uuid4().hex}", f"billing-{uuid4().hex}", "secret"

        def attempt(what: str, action: Callable[[], object]) -> None:
            try:
                print(f"{what}: {action()}")
            except KafkaError as error:
                print(f"{what}: refused, {type(error).__name__}")

        def append(producer: KafkaProducer, topic: str) -> str:
            done = producer.send(topic, b"order 17").get(timeout=10)
            return f"offset {done.offset}"

        def read(user: str, group: str | None) -> list[bytes]:
            with KafkaConsumer(
                **place,
                **secure_settings(user, secret, ca_file),
                group_id=group,
                auto_offset_reset="earliest",
            ) as consumer:
                # Subscribed to what it may not read, it would wait for ever.
                consumer.assign([TopicPartition(orders, 0)])
                return [next(consumer).value]

        def knock(client: Mapping[str, Any]) -> None:
            KafkaAdminClient(**place, **client, bootstrap_timeout_ms=500)

        for user in (web, billing):
            set_password(admin, user, secret)
            stack.callback(remove_user, admin, user)
        allow_producer(admin, web, orders)
        allow_consumer(admin, billing, orders, "billing")

        producer = stack.enter_context(
            KafkaProducer(**place, **secure_settings(web, secret, ca_file))
        )
        reader = stack.enter_context(
            KafkaProducer(
                **place,
                **secure_settings(billing, secret, ca_file),
                enable_idempotence=False,
            )
        )
        attempt("web appends to orders", lambda: append(producer, orders))
        attempt("web appends to payments", lambda: append(producer, payments))
        attempt("web reads orders", lambda: read(web, None))
        attempt("billing reads orders in its group", lambda: read(billing, "billing"))
        attempt("billing reads orders in another group", lambda: read(billing, "other"))
        attempt("billing appends to orders", lambda: append(reader, orders))

        guessing = secure_settings(web, "guessed", ca_file)
        attempt("web with a wrong password", lambda: knock(guessing))
        suspicious = secure_settings(web, secret, None)
        attempt("web without the authority's certificate", lambda: knock(suspicious))
        attempt("web without TLS", lambda: knock({}))

        print(f"web is removed: {remove_user(admin, web)}")
        attempt("web appends once more", lambda: append(producer, orders))


if __name__ == "__main__":
    demo()
