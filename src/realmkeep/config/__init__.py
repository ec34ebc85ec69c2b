"""What an operator can set, where it may be set, and what is allowed; the table stands in docs/configuration.md."""

from realmkeep.config.sections import AuthConfig, Config, KeeperConfig, NetworkConfig, RecordsConfig, StoreConfig
from realmkeep.config.settings import Section, Setting, mask_url
from realmkeep.config.sources import load_config, settings

__all__ = [
    "AuthConfig",
    "Config",
    "KeeperConfig",
    "NetworkConfig",
    "RecordsConfig",
    "Section",
    "Setting",
    "StoreConfig",
    "load_config",
    "mask_url",
    "settings",
]
