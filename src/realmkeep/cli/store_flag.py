"""The option `--store URL` of the commands."""

import sys

from realmkeep import load_config
from realmkeep.config import Config, mask_url


def config_with(store: str | None, **flags: str | None) -> Config:
    """Load the settings with the store of a flag; warn of a password in it, which every user of the machine can read.

    Args:
        store: The flag.
        flags: Other settings by key; None stands for a flag that was not given.

    Raises:
        ConfigError: A setting is wrong.
    """
    if store is not None and mask_url(store) != store:
        sys.stderr.write(
            "realmkeep: every user of this machine can read the password of --store in the list of processes: put the URL"
            " into REALMKEEP_STORE__URL, or into a file named by REALMKEEP_STORE__URL_FILE\n"
        )
    return load_config(flags={"store.url": store, **flags})
