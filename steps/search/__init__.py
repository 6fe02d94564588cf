"""A search under way: its limits, its work in other processes, its choice, its trials as runs, and what it found."""
