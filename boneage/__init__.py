"""Paediatric bone-age assessment from hand radiographs."""

import os

# albumentations looks for a newer release over the network when imported, unless told not to
os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
