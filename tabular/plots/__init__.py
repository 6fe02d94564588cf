"""Plots, one module per subject."""
