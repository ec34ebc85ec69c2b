"""Recovery: the fate of writes after an error, a loss of the store, or a shutdown."""
