"""The economy of a realm: everything that a store holds, counted, and the flows that the journal knows."""
