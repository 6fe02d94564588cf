"""Metrics of predicted classes and numbers."""
