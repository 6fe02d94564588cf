"""A step's MLflow run: what the step logs, its artifacts, its source tree and how it ends."""
