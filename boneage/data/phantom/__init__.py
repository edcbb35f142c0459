"""Synthetic hand radiographs whose bones mature as those of boys and girls do."""

from boneage.data.phantom.write import write_phantom

__all__ = ["write_phantom"]
