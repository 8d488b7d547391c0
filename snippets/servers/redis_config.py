"""The command line of a Redis server, for processes and for containers."""

from collections.abc import Mapping

# A primary needn't wait for more replicas to come before it sends its data to one.
DEFAULTS = {"repl-diskless-sync-delay": "0"}


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
