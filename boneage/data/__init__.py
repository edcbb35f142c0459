"""Radiographs and labels: tables, decoding, cache, splits, augmentation, the phantom."""
