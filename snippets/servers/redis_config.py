"""The command line of a Redis server, for processes and for containers."""

from collections.abc import Mapping
from urllib.parse import quote, urlencode

# A primary needn't wait for more replicas to come before it sends its data to one.
DEFAULTS = {"repl-diskless-sync-delay": "0"}


def speaks_tls(client: Mapping[str, str]) -> bool:
    """Tell whether a client with these settings speaks TLS."""
    return any(name.startswith("ssl_") for name in client)


def listening(port: int, client: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of a server that such a client reaches, and no other one."""
    if speaks_tls(client):
        return {"port": "0", "tls-port": str(port)}
    return {"port": str(port)}


def url_of(port: int, client: Mapping[str, str], host: str = "127.0.0.1") -> str:
    """Return the URL by which a client reaches a port of ours.

    Args:
        port: The port.
        client: `username`, `password`, and redis-py's `ssl_*` settings.
        host: The address to which it belongs.
    """
    settings = dict(client)
    name, password = settings.pop("username", ""), settings.pop("password", "")
    user = f"{quote(name, safe='')}:{quote(password, safe='')}@" if password else ""
    scheme = "rediss" if speaks_tls(client) else "redis"
    query = f"?{urlencode(settings)}" if settings else ""
    return f"{scheme}://{user}{host}:{port}{query}"


def arguments(config: Mapping[str, str]) -> list[str]:
    """Return the arguments of `redis-server` for settings as in `redis.conf`.

    Everything that bears on durability, order or delivery keeps Redis's default.

    Args:
        config: Names and values, such as `{"save": "3600 1"}`.
    """
    given: list[str] = []
    for option, value in {**DEFAULTS, **config}.items():
        # `save` takes several values, and an empty one means none.
        given += [f"--{option}", *(value.split() or [""])]
    return given
