"""The actions of players: one module for each concern, one function for each action.

A function takes the player's record, the scene and the intent. It checks everything, then either raises `ActionRefused` or
changes the record, and returns the fields that the answer adds to the new state. A tier-1 action runs inside `keeper.commit`,
a tier-2 action runs directly.
"""
