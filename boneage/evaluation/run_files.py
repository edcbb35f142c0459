"""Names of files of a run that are read without the training framework, too."""

METRICS, ERROR = "metrics.json", "error.txt"
