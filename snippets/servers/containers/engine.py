"""The container engine: how to reach it, its images, and an end for what runs on it."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from urllib.parse import urlsplit

import docker
from docker.constants import DEFAULT_TIMEOUT_SECONDS
from docker.errors import APIError, DockerException, ImageNotFound

from snippets.servers.containers import address, sign_of_engine
from snippets.servers.errors import ServersError
from snippets.servers.progress import progress

LOOPBACK = ("localhost", "127.0.0.1", "::1")
ANSWER_S = 5
REMOVAL_S = 30
POLL_S = 0.2
INSTEAD = "Or take another way to a server: SERVERS=local, or SERVERS=external."


@contextmanager
def connect() -> Iterator[docker.DockerClient]:
    """Give a client of the engine that Docker's own command line would use.

    Raises:
        ServersError: None answers, or it is the engine of another machine.
    """
    if not sign_of_engine():
        raise _none_answers(f"nothing listens at {address()}.")
    try:
        client = docker.from_env(timeout=ANSWER_S)
    except DockerException as error:
        raise _none_answers(f"{error}.") from error
    with closing(client):
        if urlsplit(client.api.base_url).hostname not in LOOPBACK:
            raise ServersError(
                "the container engine is on another machine, where the ports that our "
                f"servers publish on loopback can't be reached. {INSTEAD}"
            )
        client.api.timeout = DEFAULT_TIMEOUT_SECONDS
        yield client


def _none_answers(why: str) -> ServersError:
    return ServersError(
        f"no container engine answers: {why} Start one, such as Docker (on Debian "
        f"`apt-get install docker.io`), or set DOCKER_HOST to its address. {INSTEAD}"
    )


@contextmanager
def engine_errors(task: str) -> Iterator[None]:
    """Turn an error of the engine into ours.

    Args:
        task: What the engine was to do, such as `start redis-1`.

    Raises:
        ServersError: The engine says that it can't.
    """
    try:
        yield
    except APIError as error:
        why = error.explanation or error
        raise ServersError(f"the container engine can't {task}: {why}") from error


def has(engine: docker.DockerClient, image: str) -> bool:
    """Tell whether the engine has an image."""
    try:
        engine.images.get(image)
    except ImageNotFound:
        return False
    return True


def pull(engine: docker.DockerClient, image: str) -> None:
    """Fetch an image from its registry.

    Raises:
        ServersError: The engine can't.
    """
    with progress(f"Pulling {image}, once"), engine_errors(f"pull {image}"):
        engine.images.pull(image)


def remove_labelled(label: str) -> None:
    """Remove all containers, with their volumes, and all networks that carry a label.

    Args:
        label: The label, as `name=value`.
    """
    filters: dict[str, str | list[str] | bool] = {"label": label}
    deadline = time.monotonic() + REMOVAL_S
    with suppress(ServersError, DockerException), connect() as engine:
        # What was asked for last may appear only while the rest is being removed.
        while time.monotonic() < deadline:
            containers = engine.containers.list(
                all=True, filters=filters, ignore_removed=True
            )
            networks = engine.networks.list(filters=filters)
            if not containers and not networks:
                return
            for container in containers:
                with suppress(APIError):
                    container.remove(force=True, v=True)
            for network in networks:
                with suppress(APIError):
                    network.remove()
            time.sleep(POLL_S)
