UPDATE letters SET stored = NULL, opened_at = now() AT TIME ZONE 'UTC' WHERE receiver = %b AND opened_at IS NULL
