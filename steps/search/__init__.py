"""The trials of a search, logged as runs of MLflow."""
