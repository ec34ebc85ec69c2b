-- A letter that was opened a week ago has arrived by now, or never will.
DELETE FROM letters WHERE opened_at < now() AT TIME ZONE 'UTC' - interval '7 days'
