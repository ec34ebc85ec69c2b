"""A root with the files of /proc and /sys of a healthy machine; a test changes one."""

from pathlib import Path

from realmkeep.operations.doctor.machine import Machine

CLOCK_OK = 0
CLOCK_ERROR = 5
HEALTHY = {
    "proc/sys/vm/overcommit_memory": "1\n",
    "proc/sys/net/core/somaxconn": "4096\n",
    "sys/kernel/mm/transparent_hugepage/enabled": "always [madvise] never\n",
    "proc/meminfo": "MemTotal:       16384000 kB\nMemFree: 1 kB\n",
    "sys/fs/cgroup/memory.max": "max\n",
    "proc/self/limits": "Limit  Soft Limit  Hard Limit  Units\nMax open files            65536    1048576    files\n",
    "proc/self/mountinfo": "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n",
}


class FakeMachine:
    def __init__(self, root: Path, process_id: int | None = None) -> None:
        self.root = root
        self.clock = CLOCK_OK
        for path, text in HEALTHY.items():
            self.write(path, text)
        if process_id is not None:
            self.write(f"proc/{process_id}/comm", "valkey-server\n")
            self.write(f"proc/{process_id}/limits", HEALTHY["proc/self/limits"])

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text, encoding="utf-8")

    @property
    def machine(self) -> Machine:
        return Machine(self.root, lambda: self.clock)
