"""Evaluation of candidates on the holdout: scores, plots, the champion test and the data of the report."""
