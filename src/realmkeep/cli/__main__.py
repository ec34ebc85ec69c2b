"""`python -m realmkeep.cli`, the same as `realmkeep`."""

from realmkeep.cli import main

main()
