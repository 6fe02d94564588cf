"""An earlier run once more: its tree, and whether the same came of it."""
