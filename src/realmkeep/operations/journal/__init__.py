"""The archive of the journal: segments of entries in a hash chain, their archiver, and the questions to them."""
