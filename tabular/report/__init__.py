"""The page that says what came of a chain."""
