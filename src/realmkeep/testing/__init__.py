"""What game developers get for their own tests, and what Realmkeep tests itself with."""
