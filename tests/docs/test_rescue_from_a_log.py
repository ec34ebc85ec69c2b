"""docs/failure-modes.md says how rescue lines are taken from a log: its commands do it."""

import io
import logging
import re
import subprocess
from pathlib import Path

import pytest

from realmkeep.config import OperationsConfig
from realmkeep.keeping.recovery.rescue_file import Undelivered, encode_line, read_lines
from realmkeep.realm.server.reports import LogFormat, configure_logs
from realmkeep.storage import Guard, Put, Transaction

PAGE = Path(__file__).parents[2] / "docs" / "failure-modes.md"


def rescued(number: int) -> Undelivered:
    record = f"rover:{number}"
    guards = [Guard(f"{record}:owner", b"town/1/2"), Guard(f"{record}:updated", None)]
    effects = [Put(record, '{"name":"Zoë \\ }","note":"a\nb"}'.encode()), Put(f"{record}:version", b"\xff")]
    return Undelivered(Transaction(guards, effects), (record,), (), "the disk was full", "")


@pytest.mark.parametrize(("log_format", "colours"), [("console", False), ("console", True), ("json", False)])
def test_the_commands_take_the_lines_from_a_log(tmp_path: Path, log_format: LogFormat, *, colours: bool) -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level
    stream = io.StringIO()
    try:
        configure_logs(log_format, stream, None, OperationsConfig(), colours=colours)
        log = logging.getLogger("realmkeep.keeping.lifecycle.shutdown")
        log.critical("rescue.jsonl cannot be written, so its lines follow here: No space left on device")
        for number in (1, 2):
            log.critical("rescue line: %s", encode_line(rescued(number)).decode())
        log.critical("not everything was saved")
    finally:
        root.handlers, root.level = before
    (tmp_path / "server.log").write_text(stream.getvalue(), encoding="utf-8")
    commands = re.findall(r"^(?:sed|grep) .*> rescue\.jsonl$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(commands) == 2
    subprocess.run(commands[log_format == "json"], shell=True, cwd=tmp_path, check=True)
    read = list(read_lines(tmp_path / "rescue.jsonl"))
    assert [line.rescued for line in read] == [rescued(1), rescued(2)]
