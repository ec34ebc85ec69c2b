-- Letters that were opened; the row stays for a while, because the letter itself may arrive later.
INSERT INTO letters AS l (letter_id, receiver, opened_at)
SELECT id, '', now() AT TIME ZONE 'UTC' FROM unnest(%b::text[]) AS o (id) ORDER BY id COLLATE "C"
ON CONFLICT (letter_id) DO UPDATE SET opened_at = excluded.opened_at, stored = NULL WHERE l.opened_at IS NULL
