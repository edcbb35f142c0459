"""The tasks: one class each, with head, loss, targets, units and metrics."""
