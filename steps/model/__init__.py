"""Models: logging, loading, registration and smoke test; and the data sets that models learn from."""
