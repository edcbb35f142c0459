"""Build an experiment from the config, fit, test and write results."""

import os

# A thread that waits for the others gives its core away after a microsecond, not milliseconds: else
# a training crawls while another program uses one of the cores (docs/speed.md). GNU's OpenMP reads
# this once, when torch is imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
