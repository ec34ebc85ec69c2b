"""One person's data: exported as JSON, and erased everywhere, also from backups that are restored later."""
