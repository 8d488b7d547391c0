"""A node that is a container, and the network that it shares with the others."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from docker.errors import NotFound
from docker.models.containers import Container
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network

from snippets.servers.containers.engine import INSTEAD, connect, engine_errors, has, pull
from snippets.servers.errors import ServersError
from snippets.servers.run import MARK, current_run

STOP_S = 30
LOG_TAIL = 30
SIGKILLED = 128 + 9

# The container that would end ours can't be had everywhere; our guard does its work.
testcontainers_config.ryuk_disabled = True


def _labels() -> dict[str, str]:
    return {MARK: current_run().token}


def require(image: str) -> None:
    """See to it that the engine has an image.

    Raises:
        ServersError: No engine answers, or it hasn't the image and can't pull it.
    """
    # Testcontainers can be told to take all images from a mirror.
    full_name = testcontainers_config.hub_image_name_prefix + image
    with connect() as engine:
        if not has(engine, full_name):
            try:
                pull(engine, full_name)
            except ServersError as error:
                raise ServersError(
                    f"{error}\n`nox -s images` builds the images on Debian from packages "
                    f"where they can't be pulled. {INSTEAD}"
                ) from error


@contextmanager
def network(nodes: int) -> Iterator[Network | None]:
    """Run a network in which nodes find each other by name; a single one needs none.

    An engine has some thirty networks to give, and the tests run many servers at once.
    """
    if nodes == 1:
        yield None
        return
    made = Network(docker_network_kw={"labels": _labels()})
    with engine_errors("make a network"):
        made.create()
    try:
        yield made
    finally:
        with engine_errors("remove a network"), suppress(NotFound):
            made.remove()


class ContainerNode:
    """A node whose data and log live in a container, however often it is started."""

    def __init__(
        self,
        name: str,
        image: str,
        members: Network | None,
        *,
        ports: Mapping[int, int],
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        files: Sequence[Path] = (),
    ) -> None:
        """Take note of what to run; nothing starts yet.

        Args:
            name: What the node is called in messages, and by the other nodes.
            image: The image that it runs.
            members: The network of its server, if that has other nodes.
            ports: Which of its ports are reached under which ports of our loopback.
            command: The arguments for the image; its own if left out.
            environment: The variables for the image.
            files: Files of this machine that it finds under the same paths.
        """
        self.name = name
        self._started = False
        self._container = DockerContainer(image)
        if members:
            self._container.with_network(members).with_network_aliases(name)
        self._container.with_envs(**(environment or {}))
        # Its own name leads to itself, also without a network.
        self._container.with_kwargs(labels=_labels(), hostname=name)
        if command is not None:
            self._container.with_command(list(command))
        for file in files:
            self._container.with_copy_into_container(file, str(file))
        for inside, ours in ports.items():
            # Without an address, the engine opens the port to the whole neighbourhood.
            address = ("127.0.0.1", ours)
            self._container.ports[str(inside)] = address  # type: ignore[assignment]

    def start(self) -> None:
        """Start the container and return at once."""
        with engine_errors(f"start {self.name}"):
            if self._started:
                self.container.start()
            else:
                self._container.start()
        self._started = True

    def stop(self) -> None:
        """Ask the process to shut down and wait until it has.

        Raises:
            ServersError: It doesn't within half a minute; it is killed then.
        """
        with engine_errors(f"stop {self.name}"):
            self.container.stop(timeout=STOP_S)
        if self._exit_status() == SIGKILLED:
            raise ServersError(
                f"{self.name} did not stop within {STOP_S} s\n{self._log_tail()}"
            )

    def kill(self) -> None:
        """End the process at once."""
        with engine_errors(f"kill {self.name}"):
            self.container.kill()
            self.container.wait()

    def pause(self) -> None:
        """Freeze the process."""
        with engine_errors(f"pause {self.name}"):
            self.container.pause()

    def resume(self) -> None:
        """Let the frozen process go on."""
        with engine_errors(f"resume {self.name}"):
            self.container.unpause()

    def logs(self) -> str:
        """Return what the process has printed since it was first started."""
        with engine_errors(f"read the log of {self.name}"):
            return self.container.logs().decode(errors="replace")

    def check_alive(self) -> None:
        """Raise if the process has ended.

        Raises:
            ServersError: It has; the message holds the end of its log.
        """
        status = self._exit_status()
        if status is not None:
            raise ServersError(
                f"{self.name} ended with status {status}\n{self._log_tail()}"
            )

    def end(self) -> None:
        """Remove the container with its data, whatever state it is in."""
        with engine_errors(f"remove {self.name}"), suppress(NotFound):
            self._container.stop()

    @property
    def address(self) -> str:
        """The node's address in the network that it shares with the others."""
        with engine_errors(f"inspect {self.name}"):
            self.container.reload()
        (joined,) = self.container.attrs["NetworkSettings"]["Networks"].values()
        return str(joined["IPAddress"])

    @property
    def container(self) -> Container:
        """The container, as Docker's own library knows it."""
        if not self._started:
            raise ServersError(f"{self.name} was never started")
        return self._container.get_wrapped_container()

    def _exit_status(self) -> int | None:
        with engine_errors(f"inspect {self.name}"):
            self.container.reload()
        state = self.container.attrs["State"]
        return None if state["Running"] else int(state["ExitCode"])

    def _log_tail(self) -> str:
        lines = self.logs().splitlines()[-LOG_TAIL:]
        return "\n".join([f"the end of {self.name}'s log:", *lines])
