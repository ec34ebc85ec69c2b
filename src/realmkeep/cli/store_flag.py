"""`--store URL`, as every command has it."""

import sys

from realmkeep import load_config
from realmkeep.config import Config, mask_url


def config_with(store: str | None, **flags: str | None) -> Config:
    """The settings, with the store of a flag; a password in a flag is on every user's screen, and that is said.

    Args:
        store: The flag.
        flags: Other settings by key; None: not given.

    Raises:
        ConfigError: A setting is wrong.
    """
    if store is not None and mask_url(store) != store:
        sys.stderr.write(
            "realmkeep: every user of this machine can read the password of --store in the list of processes: put the URL"
            " into REALMKEEP_STORE__URL, or into a file named by REALMKEEP_STORE__URL_FILE\n"
        )
    return load_config(flags={"store.url": store, **flags})
