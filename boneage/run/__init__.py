"""Build an experiment from the config, fit, test and write results."""
