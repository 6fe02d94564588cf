"""Pure functions on tables and estimators: values in, values out. Nothing here imports mlflow or steps."""
