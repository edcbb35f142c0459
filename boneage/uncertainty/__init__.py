"""Intervals, novelty and the correction of a site."""
