-- Its commit waits for the disk even where `synchronous_commit` is off; all earlier commits are in the log before it.
UPDATE realmkeep_entry SET next = next + 1, first = first + 1 WHERE key = ''
