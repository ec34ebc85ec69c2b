"""Files of this user alone: all files that Realmkeep makes or trusts are opened through this package."""

from realmkeep.files.private import (
    check_private,
    check_tree,
    close_to_others,
    create_file,
    make_directory,
    open_for_append,
    open_private,
    open_trusted,
    read_file,
    read_secret,
    replace_file,
    sync_directory,
)
from realmkeep.files.trust import real_path, refusal

__all__ = [
    "check_private",
    "check_tree",
    "close_to_others",
    "create_file",
    "make_directory",
    "open_for_append",
    "open_private",
    "open_trusted",
    "read_file",
    "read_secret",
    "real_path",
    "refusal",
    "replace_file",
    "sync_directory",
]
