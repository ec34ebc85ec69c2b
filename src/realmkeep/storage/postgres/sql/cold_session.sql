-- A frozen record is in no other place: what is committed here must survive a crash of the database.
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'
