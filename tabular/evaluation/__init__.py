"""How good a candidate is, how sure that is, and whether it is good enough."""
