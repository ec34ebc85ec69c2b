"""Every finding about a machine, on a root that has the one fault; and none on a healthy root."""

import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

from operations.doctor.fake_machine import CLOCK_ERROR, HEALTHY, FakeMachine
from realmkeep.clock import SystemClock
from realmkeep.operations.doctor.disk import (
    FSYNC_S_MIN,
    file_system_findings,
    fsync_findings,
    fsync_median_s,
    mount_of,
    room_findings,
)
from realmkeep.operations.doctor.findings import Finding
from realmkeep.operations.doctor.machine import (
    Machine,
    kernel_clock_state,
    memory_findings,
    server_findings,
    store_findings,
)

STORE = 4711
DATA = Path("/var/lib/realmkeep")
SHARED_MEMORY = Path("/dev/shm")


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path, STORE)


def named(findings: Iterable[Finding]) -> dict[str, Finding]:
    found = {finding.name: finding for finding in findings}
    assert all(finding.what and finding.why and finding.mend for finding in found.values())
    return found


def all_findings(machine: Machine, *, maxmemory: int = 4 * 1024**3) -> dict[str, Finding]:
    return named(
        [
            *server_findings(machine),
            *store_findings(machine, STORE, clients_max=10_000, backlog=511),
            *memory_findings(machine, maxmemory),
            *file_system_findings(machine, DATA),
        ]
    )


def mounted(kind: str, *, at: str = "/var/lib", options: str = "rw") -> str:
    return f"{HEALTHY['proc/self/mountinfo']}35 27 0:31 / {at} rw,relatime shared:1 - {kind} source {options}\n"


def test_a_healthy_machine_has_no_findings(fake: FakeMachine) -> None:
    assert all_findings(fake.machine) == {}


@pytest.mark.parametrize(
    ("path", "text", "name", "said"),
    [
        ("proc/sys/vm/overcommit_memory", "0\n", "overcommit", "vm.overcommit_memory is 0"),
        ("proc/sys/vm/overcommit_memory", "2\n", "overcommit", "vm.overcommit_memory is 2"),
        ("sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n", "huge-pages", "huge pages are on"),
        ("proc/sys/net/core/somaxconn", "128\n", "somaxconn", "somaxconn is 128, and the store wants 511"),
        ("proc/self/limits", "Max open files            1024   4096   files\n", "few-open-files", "1,024 files"),
        (f"proc/{STORE}/limits", "Max open files 4096 4096 files\n", "few-open-files-of-the-store", "10,000 clients"),
        ("proc/meminfo", "MemTotal: 4096000 kB\n", "memory-limit-beyond-the-machine", "4,096 MB, and there are 4,000 MB"),
        ("sys/fs/cgroup/memory.max", "2147483648\n", "memory-limit-beyond-the-machine", "there are 2,048 MB"),
        ("proc/self/mountinfo", mounted("tmpfs"), "files-in-memory", "tmpfs: memory, not a disk"),
        ("proc/self/mountinfo", mounted("overlay"), "files-in-a-container", "in the container itself"),
        ("proc/self/mountinfo", mounted("nfs4"), "files-on-a-remote-system", "is on nfs4"),
        ("proc/self/mountinfo", mounted("fuse.sshfs"), "files-on-a-remote-system", "fuse.sshfs"),
        ("proc/self/mountinfo", mounted("ext4", options="rw,nobarrier"), "no-barrier", "mounted with nobarrier"),
    ],
)  # fmt: skip
def test_each_fault_is_found_alone(fake: FakeMachine, path: str, text: str, name: str, said: str) -> None:
    fake.write(path, text)
    found = all_findings(fake.machine)
    assert found.keys() == {name}
    assert said in found[name].what


def test_an_unsynchronised_clock_is_found(fake: FakeMachine) -> None:
    fake.clock = CLOCK_ERROR
    assert all_findings(fake.machine).keys() == {"clock-unsynchronised"}


def test_the_kernel_is_asked_for_its_clock() -> None:
    assert kernel_clock_state() in {0, 1, 2, 3, 4, 5, None}  # the states of adjtimex(2); None on another system


def test_a_store_without_a_tcp_port_needs_no_backlog(fake: FakeMachine) -> None:
    fake.write("proc/sys/net/core/somaxconn", "128\n")
    assert named(store_findings(fake.machine, STORE, clients_max=100, backlog=0)) == {}


def test_a_missing_file_is_no_finding(fake: FakeMachine) -> None:
    for path in HEALTHY:
        (fake.root / path).unlink()
    shutil.rmtree(fake.root / f"proc/{STORE}")
    assert all_findings(fake.machine) == {}
    assert fake.machine.program_of(STORE) == ""
    assert fake.machine.program_of(None) == ""


def test_the_deepest_mount_counts_and_the_last_at_one_point(fake: FakeMachine) -> None:
    lines = [
        "27 1 254:0 / / rw - ext4 /dev/vda rw",
        "35 27 0:31 / /var/lib rw - tmpfs tmpfs rw",
        "36 35 0:32 / /var/lib/realmkeep rw - overlay overlay rw",
        "37 36 0:33 / /var/lib/realmkeep rw - xfs /dev/vdb rw",
        "38 27 0:34 / /srv/with\\040blank rw - btrfs /dev/vdc rw",
        "half a line",
    ]
    fake.write("proc/self/mountinfo", "\n".join(lines))
    kinds = {
        path: mount_of(fake.machine, Path(path))
        for path in ("/var/lib/realmkeep/x", "/var/lib", "/srv", "/srv/with blank/y")
    }
    assert {path: mount and mount.kind for path, mount in kinds.items()} == {
        "/var/lib/realmkeep/x": "xfs",
        "/var/lib": "tmpfs",
        "/srv": "ext4",
        "/srv/with blank/y": "btrfs",
    }


def test_too_little_room_is_twice_the_files(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    assert named(room_findings(tmp_path, free // 4)) == {}
    (finding,) = room_findings(tmp_path, free)
    assert (finding.name, finding.grade) == ("little-room", "warning")
    assert str(tmp_path) in finding.what


def test_an_fsync_is_measured_and_leaves_no_file(tmp_path: Path) -> None:
    assert fsync_median_s(tmp_path, SystemClock()) > 0
    assert [*tmp_path.iterdir()] == []
    assert [*fsync_findings(FSYNC_S_MIN, tmp_path)] == []


@pytest.mark.skipif(not SHARED_MEMORY.is_dir(), reason="only Linux has a file system in memory for everyone")
def test_an_fsync_in_memory_is_found_out() -> None:
    (finding,) = fsync_findings(fsync_median_s(SHARED_MEMORY, SystemClock()), SHARED_MEMORY)
    assert (finding.name, finding.grade) == ("fsync-too-fast", "danger")
    assert "only if the disk's cache does" in finding.promise
