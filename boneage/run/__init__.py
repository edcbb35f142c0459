"""Experiments: build from the config, fit, test, write results."""
