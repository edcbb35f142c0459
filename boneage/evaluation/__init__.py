"""Metrics with intervals and trivial baselines, from a table of predictions."""
