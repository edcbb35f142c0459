"""What is learned: each task is one object with its head, loss, targets, units and metrics."""
