"""Predict new radiographs with finished models, and say how far the answer can be trusted."""
