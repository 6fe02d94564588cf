"""The hyperparameter search: suggested trials, raced on folds and pruned."""
