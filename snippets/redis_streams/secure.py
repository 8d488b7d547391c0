"""Give each program a user of its own that may do one job on one stream, over TLS.

Example:
    ```py
    from snippets.redis_streams import connect, temporary_stream
    from snippets.redis_streams.secure import allow_producer, remove_user, set_password

    with connect() as admin, temporary_stream(admin) as orders:
        set_password(admin, "web", "a long secret")
        allow_producer(admin, "web", orders)
        print(admin.acl_dryrun("web", "XADD", orders, "*", "order", "17"))
        #> OK
        print(remove_user(admin, "web"))
        #> True
    ```
"""

# --8<-- [start:imports]
import re
from typing import Any

from redis import Redis

# --8<-- [end:imports]
# isort: split
from collections.abc import Callable
from contextlib import ExitStack
from uuid import uuid4

from redis import RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from snippets.redis_streams import connect, temporary_stream


# --8<-- [start:secure_settings]
def secure_settings(user: str, password: str, ca_file: str | None) -> dict[str, Any]:
    """Return the settings of a client that shows a password to the right server only.

    The server has to prove, before it is told anything, that it is the host which the
    client has asked for, by a certificate of an authority that you trust.

    Args:
        user: The user's name. Without one redis-py would be `default`.
        password: The user's password.
        ca_file: The authority's certificate, a file in PEM form; with `None`, those that
            this machine trusts.

    Returns:
        Keyword arguments for `redis.Redis`, beside `host` and `port`.

    Raises:
        ValueError: The user or the password is empty.

    Source:
        https://redis.io/docs/latest/operate/oss_and_stack/management/security/encryption/
    """
    if not user or not password:
        raise ValueError("a secure client needs a user and a password")
    return {
        "username": user,
        "password": password,
        "ssl": True,
        "ssl_cert_reqs": "required",
        "ssl_check_hostname": True,
        "ssl_ca_certs": ca_file,
    }


# --8<-- [end:secure_settings]


# --8<-- [start:set_password]
def set_password(admin: Redis, user: str, password: str) -> None:
    """Create a user that may do nothing yet, or give the one there is a new password.

    Connections that are open stay open, whatever password they were opened with.

    Args:
        admin: A client that may run `ACL`.
        user: The user's name.
        password: The only one that is good from now on.

    Raises:
        ValueError: The password is empty, which Redis would take.
        redis.ResponseError: The name is none, as it has a space in it.

    Source:
        https://redis.io/docs/latest/commands/acl-setuser/
    """
    if not password:
        raise ValueError(f"the password of {user!r} is empty")
    command: Any = admin.execute_command
    command("ACL SETUSER", user, "on", "resetpass", f">{password}")


# --8<-- [end:set_password]


# --8<-- [start:allow_producer]
def allow_producer(admin: Redis, user: str, stream: str) -> None:
    """Let a user append to one stream, and do nothing else.

    What the user was allowed before is taken away: rights to commands and rights to keys
    would multiply. It holds at once, on open connections too.

    Args:
        admin: A client that may run `ACL`.
        user: The user's name; it can't log in before it has a password.
        stream: The stream's key, as it is; `*` stands for itself here.

    Raises:
        ValueError: The stream's name is empty.
        redis.ResponseError: A name has a space in it, and Redis takes none here; the user
            may do what it could before.

    Source:
        https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
    """
    if not stream:
        raise ValueError("the stream needs a name")
    key = re.sub(r"([\\*?\[\]^])", r"\\\1", stream)
    nothing = ("resetkeys", "resetchannels", "clearselectors", "-@all")
    # redis-py names itself with this at each connection; refused, it would fill ACL LOG.
    allowed = ("+xadd", "+client|setinfo")
    command: Any = admin.execute_command
    command("ACL SETUSER", user, *nothing, f"%W~{key}", *allowed)


# --8<-- [end:allow_producer]


# --8<-- [start:allow_consumer]
def allow_consumer(admin: Redis, user: str, stream: str) -> None:
    """Let a user consume one stream in its groups, and do nothing else.

    In all of its groups: Redis can't limit a user to one. What the user was allowed
    before is taken away. It holds at once, on open connections too.

    Args:
        admin: A client that may run `ACL`.
        user: The user's name; it can't log in before it has a password.
        stream: The stream's key, as it is; `*` stands for itself here.

    Raises:
        ValueError: The stream's name is empty.
        redis.ResponseError: A name has a space in it, and Redis takes none here; the user
            may do what it could before.

    Source:
        https://redis.io/docs/latest/operate/oss_and_stack/management/security/acl/
    """
    if not stream:
        raise ValueError("the stream needs a name")
    key = re.sub(r"([\\*?\[\]^])", r"\\\1", stream)
    nothing = ("resetkeys", "resetchannels", "clearselectors", "-@all")
    allowed = ("+xreadgroup", "+xack", "+xautoclaim", "+xpending", "+client|setinfo")
    command: Any = admin.execute_command
    command("ACL SETUSER", user, *nothing, f"%RW~{key}", *allowed)


# --8<-- [end:allow_consumer]


# --8<-- [start:remove_user]
def remove_user(admin: Redis, user: str) -> bool:
    """Remove a user with all that it was allowed, and close its connections.

    Args:
        admin: A client that may run `ACL`.
        user: The user's name.

    Returns:
        Whether there was such a user.

    Raises:
        redis.ResponseError: It is `default`, which can't be removed.

    Source:
        https://redis.io/docs/latest/commands/acl-deluser/
    """
    return bool(admin.acl_deluser(user))


# --8<-- [end:remove_user]


def demo() -> None:
    """Make a producer and a consumer; let each try its own job, and the other's."""
    with connect() as admin, temporary_stream(admin) as orders, ExitStack() as stack:
        # It needs a server with TLS: `python -m snippets.servers --secure` starts one.
        at = admin.connection_pool.connection_kwargs
        place = {"host": at["host"], "port": at["port"], "decode_responses": True}
        ca_file = at["ssl_ca_certs"]
        web, billing, secret = f"web-{uuid4().hex}", f"billing-{uuid4().hex}", "secret"

        def client(**settings: Any) -> Redis:
            once = Retry(NoBackoff(), 0)
            made: Redis = Redis(**place, **settings, retry=once)
            stack.callback(made.close)
            return made

        def attempt(what: str, action: Callable[[], object]) -> None:
            try:
                print(f"{what}: {action()}")
            except RedisError as error:
                print(f"{what}: refused, {type(error).__name__}")

        def read(group: str) -> list[dict[str, str]]:
            replies: Any = consumer.xreadgroup(group, "worker-1", {orders: ">"})
            return [event for _, event in replies[0][1]]

        for user in (web, billing):
            set_password(admin, user, secret)
            stack.callback(remove_user, admin, user)
        allow_producer(admin, web, orders)
        allow_consumer(admin, billing, orders)
        for group in ("billing", "shipping"):
            admin.xgroup_create(orders, group, id="0", mkstream=True)

        producer = client(**secure_settings(web, secret, ca_file))
        consumer = client(**secure_settings(billing, secret, ca_file))
        attempt("web appends to orders", lambda: producer.xadd(orders, {"order": "17"}))
        attempt("web appends to payments", lambda: producer.xadd("payments", {"n": "1"}))
        attempt("web reads orders", lambda: producer.xrange(orders))
        attempt("billing reads orders in its group", lambda: read("billing"))
        attempt("billing reads orders in another group", lambda: read("shipping"))
        attempt("billing appends to orders", lambda: consumer.xadd(orders, {"n": "1"}))

        guessing = client(**secure_settings(web, "guessed", ca_file))
        attempt("web with a wrong password", guessing.ping)
        suspicious = client(**secure_settings(web, secret, None))
        attempt("web without the authority's certificate", suspicious.ping)
        open_hearted = client(username=web, password=secret)
        attempt("web without TLS", open_hearted.ping)

        print(f"web is removed: {remove_user(admin, web)}")
        returning = client(**secure_settings(web, secret, ca_file))
        attempt("web connects once more", returning.ping)


if __name__ == "__main__":
    demo()
