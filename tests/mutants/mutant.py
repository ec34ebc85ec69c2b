"""A mutant: one realistic mistake as a patch, with the tests that must notice it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
KILLED_BY = "killed by: "
SURVIVES = "survives: "


@dataclass(frozen=True)
class Hunk:
    """Lines of the source, and the lines that the mutant puts in their place."""

    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """One mistake.

    Attributes:
        name: The patch's file, without its ending.
        room: The part of the house that it breaks: the patch's folder.
        mistake: What a developer got wrong, in one sentence.
        killers: Arguments of pytest that select the tests that must fail.
        excuse: Why no test can notice it; empty if one must.
        source: The file that it changes, from the root of the repository.
        hunks: The changes.
    """

    name: str
    room: str
    mistake: str
    killers: tuple[str, ...]
    excuse: str
    source: str
    hunks: tuple[Hunk, ...]

    def applied(self, text: str) -> str:
        """The source with the mistake in it.

        Raises:
            ValueError: The lines that it changes do not stand in the source exactly once.
        """
        for hunk in self.hunks:
            if (found := text.count(hunk.old)) != 1:
                raise ValueError(
                    f"{self.room}/{self.name}: its lines stand in {self.source} {found} times; renew the patch"
                )
            text = text.replace(hunk.old, hunk.new)
        return text


def read(path: Path) -> Mutant:
    """A patch: a sentence, `killed by:` or `survives:`, then one file's hunks as `git diff` prints them.

    Raises:
        ValueError: It is not of that form.
    """
    head, divider, body = path.read_text(encoding="utf-8").partition("\n--- a/")
    source, _, rest = body.partition("\n+++ b/")
    hunks = tuple(_hunks(rest.partition("\n")[2]))
    lines = head.splitlines()
    killers = tuple(line.removeprefix(KILLED_BY) for line in lines if line.startswith(KILLED_BY))
    excuse = " ".join(line.removeprefix(SURVIVES) for line in lines if line.startswith(SURVIVES))
    if not (divider and lines and hunks) or bool(killers) == bool(excuse):
        raise ValueError(f"{path}: a sentence, '{KILLED_BY}TESTS' or '{SURVIVES}REASON', and the hunks of one file")
    return Mutant(path.stem, path.parent.name, lines[0], killers, excuse, source, hunks)


def read_all() -> list[Mutant]:
    """Every mutant, by room and name."""
    return [read(path) for path in sorted(HERE.glob("*/*.patch"))]


def _hunks(body: str) -> Iterator[Hunk]:
    for hunk in ("\n" + body).split("\n@@ ")[1:]:
        lines = hunk.splitlines(keepends=True)[1:]
        yield Hunk(
            "".join(line[1:] or "\n" for line in lines if line[0] in " -\n"),
            "".join(line[1:] or "\n" for line in lines if line[0] in " +\n"),
        )
