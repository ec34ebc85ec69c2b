"""The stores of a drill: started, read past Realmkeep, and broken."""
