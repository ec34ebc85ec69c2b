"""kill -9 at each step of the archiver: every acknowledged commit is in the archive exactly once."""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from operations.journal import killed_archiver
from operations.journal.journaled import SERVER, archived, files, notes_in
from realmkeep.keys import server_journal
from realmkeep.operations.journal.verifying import verify_archive
from realmkeep.storage import open_storage

PAYMENTS_A_LIFE = 1_000_000


def live(url: str, directory: Path, life: int, step: str, rounds: int) -> tuple[list[str], int]:
    """Run the server until it dies; the acknowledged payments, and the exit code."""
    arguments = [url, directory, life * PAYMENTS_A_LIFE, step, rounds]
    done = subprocess.run(
        [sys.executable, killed_archiver.__file__, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode in (0, -9), done.stderr
    return done.stdout.split(), done.returncode


@pytest.mark.parametrize("step", killed_archiver.STEPS)
@pytest.mark.backend("sqlite")
async def test_every_acknowledged_commit_is_archived_once(step: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    acknowledged: list[str] = []
    for life, rounds in enumerate((1, 3), 1):
        payments, code = live(url, tmp_path, life, step, rounds)
        assert code == -9
        acknowledged += payments
    _, code = live(url, tmp_path, 9, "", 0)
    assert code == 0
    entries = await archived(files(tmp_path))
    times = Counter(notes_in(entries))
    assert acknowledged
    assert set(times) >= set(acknowledged)
    assert set(times.values()) == {1}
    assert len({(entry.run, entry.seq) for entry in entries}) == len(entries)
    storage = open_storage(url)
    await storage.connect()
    assert await storage.load_list(server_journal(SERVER)) == []
    report = await verify_archive(files(tmp_path), storage)
    await storage.disconnect()
    assert report.faults == ()
