"""Every check, and everything that is recorded, is one `nox -s <name>` away."""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2026.4"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "tests", "site", "browser"]

LOCKS = ("site", "tests", "lint", "java")
TASKS, CLAIMS, DOCS = "tests/tasks", "tests/claims", "tests/docs"
SERVERS, LABS = "tests/servers", "tests/labs"
UPDATE = "--update-examples"

# Tests wait for servers more than they compute; each process has servers of its own.
SIDE_BY_SIDE = ("--numprocesses", "4", "--dist", "loadgroup")

ENVIRONMENT = {
    # Servers end when nox does, even if it is killed.
    "SERVERS_OWNER": str(os.getpid()),
    # Material announces its end of life on every build; decision 0001 has it in view.
    "NO_MKDOCS_2_WARNING": "1",
}


def install(session: nox.Session, lock: str) -> None:
    """Install what one lock file names, each file checked against its hash."""
    session.install("--require-hashes", "-r", f"requirements/{lock}.txt")


def run(session: nox.Session, *command: str, **environment: str) -> None:
    """Run a command with the environment that all sessions share."""
    session.run(*command, env={**ENVIRONMENT, **environment})


def prepare(session: nox.Session) -> None:
    """Build or fetch the servers, with visible progress; pytest would hide it."""
    run(session, "python", "-m", "snippets.servers", "--prepare")


def build(session: nox.Session) -> None:
    """Build the site into `site/`; any warning is an error."""
    run(session, "mkdocs", "build", "--strict")
    session.log(f"the site is in {Path('site').resolve()}")


@nox.session
def site(session: nox.Session) -> None:
    """Run every task on real servers, compare with what is recorded, build the site."""
    install(session, "tests")
    prepare(session)
    run(session, "pytest", *SIDE_BY_SIDE, DOCS, *session.posargs)
    build(session)


@nox.session
def tests(session: nox.Session) -> None:
    """Pass the tests; `-- --update-examples` records anew what they print."""
    install(session, "tests")
    prepare(session)
    if session.posargs == [UPDATE]:
        # What the pages show is recorded in order, after the claims that they cite.
        run(session, "pytest", *SIDE_BY_SIDE, TASKS, CLAIMS, UPDATE)
        run(session, "pytest", DOCS, UPDATE)
    elif session.posargs:
        run(session, "pytest", *session.posargs)
    else:
        paths = (TASKS, CLAIMS, DOCS, SERVERS, LABS)
        run(session, "pytest", *SIDE_BY_SIDE, "--cov", "--durations=10", *paths)


@nox.session
def lint(session: nox.Session) -> None:
    """Check format, types, imports, Markdown, spelling, workflows."""
    install(session, "lint")
    run(session, "ruff", "format", "--check", "--diff")
    run(session, "ruff", "check")
    run(session, "mypy")
    run(session, "lint-imports")
    run(session, "rumdl", "check", ".")
    run(session, "typos")
    run(session, "zizmor", "--offline", "--quiet", "--persona=pedantic", ".github")
    schemas = {
        "vendor.github-workflows": sorted(map(str, Path(".github/workflows").iterdir())),
        "vendor.dependabot": [".github/dependabot.yml"],
        "vendor.compose-spec": ["compose.yaml"],
    }
    for schema, files in schemas.items():
        run(session, "check-jsonschema", "--builtin-schema", schema, *files)


@nox.session
def browser(session: nox.Session) -> None:
    """Open the built site in Chromium: tabs, search, keyboard, accessibility."""
    install(session, "tests")
    build(session)
    run(session, "pytest", "tests/site", *session.posargs)


@nox.session(default=False)
def serve(session: nox.Session) -> None:
    """Preview the site at http://127.0.0.1:8000 while you write; needs no server."""
    install(session, "site")
    run(session, "mkdocs", "serve", *session.posargs)


@nox.session(default=False)
def labs(session: nox.Session) -> None:
    """Run all labs, or one as `-- loss`; `--quick`: controls and headlines."""
    install(session, "tests")
    run(session, "python", "-m", "snippets.labs", *session.posargs)


@nox.session(default=False)
def servers(session: nox.Session) -> None:
    """Start a Redis and a Kafka to play with, until Ctrl-C."""
    install(session, "tests")
    run(session, "python", "-m", "snippets.servers", *session.posargs)


@nox.session(default=False)
def images(session: nox.Session) -> None:
    """Build the container images where they can't be pulled."""
    install(session, "tests")
    run(session, "python", "-m", "snippets.servers.containers.images", *session.posargs)


@nox.session(default=False)
def containers(session: nox.Session) -> None:
    """Pass the tests on containers of the official images."""
    install(session, "tests")
    servers = (f"{SERVERS}/test_nodes.py", f"{SERVERS}/test_guard.py")
    paths = (TASKS, CLAIMS, f"{DOCS}/test_versions.py", *servers)
    run(session, "pytest", *SIDE_BY_SIDE, *paths, SERVERS="containers")


@nox.session(default=False, requires=["lint", "containers"])
def publish(session: nox.Session) -> None:
    """Prove everything on containers and build; `-- --push` sends it to GitHub Pages."""
    install(session, "tests")
    run(session, "pytest", DOCS, SERVERS="containers")
    build(session)
    run(session, "pytest", "tests/site")
    if "--push" in session.posargs:
        run(session, "mkdocs", "gh-deploy", "--strict")


@nox.session(default=False)
def lock(session: nox.Session) -> None:
    """Resolve the requirements and Kafka's jars anew, and write the lock files."""
    install(session, "tests")
    for name in LOCKS:
        session.run(
            *(
                "uv",
                "pip",
                "compile",
                "--quiet",
                "--universal",
                "--python-version",
                "3.11",
            ),
            *("--generate-hashes", "--custom-compile-command", "nox -s lock"),
            *("--constraint", "requirements/tests.in", *session.posargs),
            *("--output-file", f"requirements/{name}.txt", f"requirements/{name}.in"),
            external=True,
        )
    jgo = ("jgo", "--ignore-config", "--repo-cache", f"{session.create_tmp()}/jars")
    for folder in sorted(Path("requirements/kafka").iterdir()):
        with session.chdir(folder):
            session.run(*jgo, "--resolver", "python", "lock", silent=True)


@nox.session(default=False)
def clean(session: nox.Session) -> None:
    """Remove what was built; `-- --all` removes the cached servers too."""
    if "--all" in session.posargs:
        install(session, "tests")
        run(session, "python", "-m", "snippets.servers", "--clear-cache")
    for built in ("site", ".mypy_cache", ".ruff_cache", ".pytest_cache"):
        shutil.rmtree(built, ignore_errors=True)
