"""Backbones, heads, the sex input, schedules and the LightningModule."""
