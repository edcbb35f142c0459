"""Backbones, the sex input, schedules and the LightningModule."""
