"""Estimators and preprocessors: made, fitted, scored; decision thresholds, prediction intervals."""
