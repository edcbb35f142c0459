"""Predict new radiographs with finished models, and say how far the answer can be trusted."""

import os

# Threads of the network that wait must not spin on cores that read radiographs: worth about 1.1 in
# speed (docs/speed.md). OpenMP looks once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
