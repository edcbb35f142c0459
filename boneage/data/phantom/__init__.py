"""Synthetic hand radiographs whose bones mature as those of boys and girls do."""

from boneage.data.phantom.write import expose, write_phantom

__all__ = ["expose", "write_phantom"]
