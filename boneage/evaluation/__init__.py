"""From a table of predictions to metrics with intervals, and to the trivial baselines."""
