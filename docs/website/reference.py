"""The pages of the reference: every public name, in the order of the rooms, described by its docstring."""

import ast
from pathlib import Path
from typing import Final

ROOMS: Final = {
    "records": "Records",
    "keeping": "Keeping",
    "storage": "Stores",
    "config": "Settings",
    "clock": "Clocks",
}
OF_MODULES: Final = {  # names that few games need: public, and imported from the module of their room
    "records": ("Tier", "Trigger", "Keyword", "Validity", "OK", "CLAMP", "REJECT", "QUARANTINE", "Issue", "issue"),
    "keeping": ("KeeperStatus", "Table", "ScannedRecord", "Tx", "restore_rescued", "RescueReport", "LeftBehind"),
    "storage": (
        *("open_storage", "Storage", "Capability", "Transaction", "Guard", "Need", "Present", "Shorter"),
        *(
            "Effect",
            "Put",
            "Append",
            "Delete",
            "DropFirst",
            "WriteOutcome",
            "Committed",
            "Refused",
            "Failed",
            "Unknown",
        ),
    ),
    "clock": ("Clock", "SystemClock", "Timer"),
    "config": ("StoreConfig", "RecordsConfig", "AuthConfig", "NetworkConfig", "OperationsConfig", "mask_url"),
}
FIRST: Final = ("Record", "Part", "durable", "ephemeral", "Keeper", "Session", "Op", "Receipt", "answer")
ERRORS: Final = "errors"  # on a page of its own, the ones that are imported by name too
TESTING: Final = ("lab", "plugin", "clock", "migrations", "golden", "faulty", "contract", "servers")
TITLES: Final = {
    "Records": "Fields, rules and marks: what is kept.",
    "Keeping": "Sessions, commits and letters: when it is kept.",
    "Stores": "Where it is kept.",
    "Settings": "Every setting is described on the page of the [settings](../configuration.md).",
    "Clocks": "Time, and waiting.",
}


def reference_pages(package: Path) -> dict[str, str]:
    """Markdown of the pages by their path on the site.

    Args:
        package: The source of `realmkeep`.
    """
    names = _public_names(package / "public.py")
    pages = {title: [f"# {title}\n\n{told}\n"] for title, told in TITLES.items()}
    for room, imported in names.items():
        if room != ERRORS:
            imported.sort(key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
            pages[ROOMS[room]] += ["## In `realmkeep`\n", *(_entry(f"public.{name}") for name in imported)]
    for room, more in OF_MODULES.items():
        pages[ROOMS[room]] += [f"## In `realmkeep.{room}`\n", *(_entry(f"{room}.{name}") for name in more)]
    return {f"api/{title.lower()}.md": "\n".join(parts) for title, parts in pages.items()} | {
        "api/errors.md": _module_page("Errors", "errors"),
        "api/accounts.md": _module_page("Accounts", "accounts"),
        "api/asgi.md": _module_page("Web servers", "asgi"),
        "api/monitoring.md": _module_page("Monitoring", "operations.metrics"),
        "api/testing.md": _module_page("Tests of a game", *(f"testing.{name}" for name in TESTING)),
    }


def _public_names(public: Path) -> dict[str, list[str]]:
    """The exports of `public.py`, by their rooms."""
    tree = ast.parse(public.read_text(encoding="utf-8"))
    names: dict[str, list[str]] = {}
    for node in tree.body:
        match node:
            case ast.ImportFrom(module=str(module), names=imported) if module != "realmkeep":
                names.setdefault(module.split(".")[1], []).extend(each.name for each in imported)
            case _:
                pass
    return names


def _entry(name: str) -> str:
    return f"::: realmkeep.{name}\n    options:\n      heading_level: 3\n"


def _module_page(title: str, *modules: str) -> str:
    parts = [f"# {title}\n"]
    for module in modules:
        parts.append(f"## `realmkeep.{module}`\n" if len(modules) > 1 else f"In `realmkeep.{module}`.\n")
        options = f"    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n      heading_level: {3 if len(modules) > 1 else 2}\n"
        parts.append(f"::: realmkeep.{module}\n{options}")
    return "\n".join(parts)
