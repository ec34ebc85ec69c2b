"""What players can do: one module for each concern, one function for each action.

A function takes the player's record, the scene and the intent; it checks everything, raises `Refused` or changes the record,
and returns what the answer adds to the new state. Those of tier 1 take the transaction first and run inside
`keeper.commit`, those of tier 2 run directly.
"""
