"""Estimators: made, prepared for, fitted, scored."""
