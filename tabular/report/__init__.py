"""The report of a chain."""
