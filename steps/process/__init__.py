"""Processes: their identity, beginning and end, the fork server and the process pool. Knows nothing of MLflow."""
