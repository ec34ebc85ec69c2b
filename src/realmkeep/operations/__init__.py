"""For operators of a realm: to watch it, to examine it, to back it up, to install it. Commands call this room."""
