"""Predict new radiographs with trained models, with intervals and flags."""

import os

# Idle threads of the network must not spin on cores that read radiographs: about 1.1 times as fast
# (docs/speed.md). OpenMP reads this once, when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
