"""Start a Redis and a Kafka to play with: `python -m snippets.servers`."""

import argparse
import shlex
import shutil
import signal
import sys
import threading
from contextlib import ExitStack

from snippets.servers.cache import root
from snippets.servers.choice import Way, choose, kafka, redis
from snippets.servers.errors import ServersError
from snippets.servers.interface import Kafka, Redis
from snippets.servers.progress import progress
from snippets.servers.secured import secure_kafka, secure_redis
from snippets.servers.versions import REDIS_RELEASES


def prepare() -> None:
    """Build or fetch what local servers need, unless the cache has it."""
    if choose("redis") is Way.LOCAL:
        from snippets.servers.local.redis_programs import programs

        for release in REDIS_RELEASES.values():
            programs(release)
    if choose("kafka") is Way.LOCAL:
        from snippets.servers.local.kafka import archive

        archive()


def play(*, secure: bool) -> None:
    """Start both, print how to reach them, and wait for Ctrl-C or SIGTERM.

    Args:
        secure: Whether they are to ask for a password and speak TLS.
    """
    with ExitStack() as stack:
        with progress("Starting Redis and Kafka"):
            servers: list[Redis | Kafka] = [
                stack.enter_context(secure_redis() if secure else redis()),
                stack.enter_context(secure_kafka() if secure else kafka()),
            ]
        for server in servers:
            print(f"# {type(server).__name__} {server.version} ({server.way})")
            for name, value in server.environment().items():
                print(f"export {name}={shlex.quote(value)}")
        print("# Ctrl-C ends both.", flush=True)
        threading.Event().wait()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m snippets.servers", description=__doc__
    )
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument(
        "--prepare", action="store_true", help="build or fetch the servers, and stop"
    )
    choice.add_argument(
        "--clear-cache", action="store_true", help="remove what was built or fetched"
    )
    choice.add_argument(
        "--secure",
        action="store_true",
        help="start servers that speak TLS, ask for a password, and go by ACLs",
    )
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if chosen.prepare:
            prepare()
        elif chosen.clear_cache:
            shutil.rmtree(root())
        else:
            play(secure=chosen.secure)
    except ServersError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
