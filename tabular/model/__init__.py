"""Estimators and preprocessors: made, fitted, scored; decision thresholds, calibration, prediction intervals."""
