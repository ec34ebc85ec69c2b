"""The settings of an operator, their sources and their allowed values; docs/configuration.md has the table."""

from realmkeep.config.followers import ArchiveConfig, BackupConfig, JournalConfig
from realmkeep.config.sections import (
    AuthConfig,
    Config,
    ConsoleConfig,
    KeeperConfig,
    NetworkConfig,
    OperationsConfig,
    OperatorsConfig,
    RecordsConfig,
    StoreConfig,
)
from realmkeep.config.settings import Section, Setting, mask_url
from realmkeep.config.sources import load_config, settings

__all__ = [
    "ArchiveConfig",
    "AuthConfig",
    "BackupConfig",
    "Config",
    "ConsoleConfig",
    "JournalConfig",
    "KeeperConfig",
    "NetworkConfig",
    "OperationsConfig",
    "OperatorsConfig",
    "RecordsConfig",
    "Section",
    "Setting",
    "StoreConfig",
    "load_config",
    "mask_url",
    "settings",
]
