"""When it is kept: sessions, tiers, write-behind, ownership. The only place where records and storage meet."""
