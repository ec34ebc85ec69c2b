"""The game server: logins, intents, the tick, and the shutdown."""
