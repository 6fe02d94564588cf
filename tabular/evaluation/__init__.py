"""Evaluation of candidates: confidence intervals, slices, the gate, drift, comparisons of results."""
