"""The game server: sessions, intents, the tick, and the ends of all of them."""
