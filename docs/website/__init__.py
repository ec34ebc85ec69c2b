"""The documentation site: `./dev docs` builds it offline from docs/, and checks every link of it."""
