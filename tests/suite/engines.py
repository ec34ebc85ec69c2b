"""Servers and tools that only some machines have.

A test names what it needs beyond `./dev setup`: `@pytest.mark.needs("redis-server")`. Where that is missing the test does
not run, and the end of the run says so, with the number of tests.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

ENGINES_PATH = os.pathsep.join(
    [os.environ.get("PATH", os.defpath), "/usr/sbin", *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
)
POSTGRESQL_15 = Path("/usr/lib/postgresql/15/bin")  # of Debian 12
INSTALLED_BY = {
    "age": "Debian: apt install age",
    "chromium": "Debian: apt install chromium",
    "sbcl": "./dev setup --lisp",
    "ironclad": "./dev setup --lisp",
    "hadolint": "./dev setup on Linux with an x86-64 processor",
    "gcc": "Debian: apt install gcc libc6-dev",
    "ipv6": "a system with ::1",
    "mount": "root, loop devices and mkfs.ext4",
    "pid-namespace": "root on Linux",
    "valgrind": "Debian: apt install valgrind",
    "pgbouncer": "Debian: apt install pgbouncer",
    "postgresql-15": "Debian: apt install postgresql-15",
    "promtool": "Debian: apt install prometheus",
    "redis-server": "Debian: apt install redis-server",
    "systemd-analyze": "a system with systemd",
    "systemd-boot": "root on a Linux with systemd, cgroup2 and a system's Python of this version",
}
NOT_RUN = pytest.StashKey[Counter[str]]()


def executable(name: str) -> Path | None:
    """The program of this name, also where Debian keeps what is on nobody's PATH."""
    found = shutil.which(name, path=ENGINES_PATH)
    return Path(found) if found else None


def needed(name: str) -> Path:
    """The program of a test that is marked with `needs(name)`."""
    found = executable(name)
    assert found is not None, f"{name} is not on this machine: mark the test with needs({name!r})"
    return found


def may_mount() -> bool:
    """Whether file systems can be made and mounted here, on loop devices too; tried where nobody sees it."""
    attempt = "mount -t tmpfs tmpfs /tmp && losetup --find && command -v mkfs.ext4"
    command = ["unshare", "--mount", "sh", "-c", attempt]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except FileNotFoundError:  # no unshare: not a Linux
        return False


def has_ipv6() -> bool:
    """Whether this machine has the IPv6 address of itself."""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as tried:
            tried.bind(("::1", 0))
    except OSError:
        return False
    return True


def may_make_a_pid_namespace() -> bool:
    """Whether processes can be started that have numbers of their own, as in a container."""
    command = ["unshare", "--pid", "--fork", "--mount-proc", "true"]
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except FileNotFoundError:
        return False


def may_boot_systemd() -> bool:
    """Whether a systemd of a test's own can be booted, with a system's Python of this version for its services."""
    overlay = "lowerdir=/etc,upperdir=/mnt/u,workdir=/mnt/w"
    attempt = (
        "mount --make-rprivate / && mount -t cgroup2 cgroup2 /sys/fs/cgroup && mount -t tmpfs tmpfs /mnt"
        f" && mkdir /mnt/u /mnt/w && mount -t overlay overlay -o {overlay} /etc && command -v useradd setpriv ip"
    )
    command = ["unshare", "--mount", "--pid", "--net", "--cgroup", "--fork", "sh", "-c", attempt]
    if not Path("/lib/systemd/systemd").exists() or not Path(f"/usr/bin/python3.{sys.version_info.minor}").exists():
        return False
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0
    except FileNotFoundError:
        return False


OTHER_THAN_PROGRAMS: dict[str, Callable[[], bool]] = {
    "ironclad": Path("/usr/share/common-lisp/source/ironclad").exists,
    "hadolint": Path(sys.executable).with_name("hadolint").exists,
    "ipv6": has_ipv6,
    "mount": may_mount,
    "postgresql-15": (POSTGRESQL_15 / "initdb").exists,
    "pid-namespace": may_make_a_pid_namespace,
    "systemd-boot": may_boot_systemd,
}


@cache
def is_there(name: str) -> bool:
    """Whether this machine has the program, or what `OTHER_THAN_PROGRAMS` says."""
    return OTHER_THAN_PROGRAMS.get(name, lambda: executable(name) is not None)()


def names(item: pytest.Item, marker: str) -> list[str]:
    return sorted({str(name) for mark in item.iter_markers(marker) for name in mark.args})


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "backend(name): runs on this storage backend; a report counts them")
    config.addinivalue_line("markers", "needs(name, ...): needs programs that only some machines have")
    config.stash[NOT_RUN] = Counter()


@pytest.hookimpl(trylast=True)  # only what was selected counts
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        engines = names(item, "needs")
        missing = [engine for engine in engines if not is_there(engine)]
        config.stash[NOT_RUN].update(missing)
        item.user_properties += [("runs on", name) for name in (*names(item, "backend"), *engines)]
        (left_out if missing else kept).append(item)
    if left_out:
        items[:] = kept
        config.hook.pytest_deselected(items=left_out)


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:  # one of the processes of `-n`: the first process writes the report
        output["not run"] = dict(session.config.stash[NOT_RUN])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object, error: object) -> None:
    """Every process of `-n` collects the same tests: the last one speaks for all."""
    output: dict[str, dict[str, int]] | None = getattr(node, "workeroutput", None)
    config: pytest.Config | None = getattr(node, "config", None)
    if output is not None and config is not None:
        config.stash[NOT_RUN] = Counter(output["not run"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    reports: list[pytest.TestReport] = terminalreporter.getreports("passed")
    passed = Counter(str(value) for report in reports for name, value in report.user_properties if name == "runs on")
    if passed:
        ran = ", ".join(f"{name} ({count} passed)" for name, count in sorted(passed.items()))
        terminalreporter.write_line(f"backends and engines: {ran}")
    not_run = config.stash[NOT_RUN]
    if not_run:
        terminalreporter.section("NOT RUN, for want of an engine", sep="!", red=True, bold=True)
    for name, count in sorted(not_run.items()):
        how = INSTALLED_BY.get(name, f"the program {name}")
        terminalreporter.write_line(f"NOT RUN: {count} tests need {name} ({how})", red=True)
