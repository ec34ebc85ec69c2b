"""The cold tier at work: what servers change is shipped there, records of absent players are frozen, and a lost store is rebuilt."""
