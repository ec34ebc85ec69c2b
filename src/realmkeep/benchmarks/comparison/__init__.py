"""`./dev bench`: Realmkeep against other ways to do the same, in one sitting and in interleaved rounds."""
