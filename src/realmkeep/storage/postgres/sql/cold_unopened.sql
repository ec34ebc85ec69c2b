SELECT place, letter_id, receiver, stored FROM letters WHERE opened_at IS NULL AND place > %b ORDER BY place LIMIT %b
