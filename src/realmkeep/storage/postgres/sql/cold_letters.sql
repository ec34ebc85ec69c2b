-- Letters that were sent; one that is known stays, also if it is known as opened.
INSERT INTO letters (letter_id, receiver, stored)
SELECT * FROM unnest(%b::text[], %b::text[], %b::bytea[]) ON CONFLICT (letter_id) DO NOTHING
