DELETE FROM entry WHERE rowid IN (SELECT rowid FROM entry WHERE expires_us <= :now_us LIMIT :count)
