"""Letters: applied to their receiver, returned to their sender, or kept for an operator."""
