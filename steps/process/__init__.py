"""Processes: which is which, their beginning and end, forks with what they need in memory. Knows nothing of MLflow."""
