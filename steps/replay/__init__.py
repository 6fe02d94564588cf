"""Replay of an earlier run: its source tree, and whether the replay gives the same results."""
