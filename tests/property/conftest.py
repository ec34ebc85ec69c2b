"""Says loudly at the end of a run that the tests with SBCL did not run, where it is missing."""

import shutil

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if shutil.which("sbcl") is None:
        terminalreporter.section("SBCL IS NOT INSTALLED", sep="!", red=True, bold=True)
        terminalreporter.write_line(
            "NOT PROVED in this run: that Lisp reads the s-expressions written, and the reverse."
        )
        terminalreporter.write_line("./dev setup --lisp installs it; ./dev test -k lisp runs those tests.")
