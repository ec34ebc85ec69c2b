"""Processes that a test has started indirectly."""

from pathlib import Path


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended may still wait to be asked how."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"
