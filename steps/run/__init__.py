"""A run under way: its step, what it logs and leaves, where it comes from, how it ends."""
