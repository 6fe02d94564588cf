"""The trials of a search as runs."""
