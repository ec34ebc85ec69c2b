"""Files that are this user's alone: every file that Realmkeep makes, and every file that it believes, goes through here."""

from realmkeep.files.private import (
    append_file,
    check_private,
    check_tree,
    close_to_others,
    create_file,
    make_directory,
    open_believed,
    open_private,
    read_file,
    read_secret,
    replace_file,
    sync_directory,
)
from realmkeep.files.trust import real_path, refusal

__all__ = [
    "append_file",
    "check_private",
    "check_tree",
    "close_to_others",
    "create_file",
    "make_directory",
    "open_believed",
    "open_private",
    "read_file",
    "read_secret",
    "real_path",
    "refusal",
    "replace_file",
    "sync_directory",
]
