"""Paediatric bone-age assessment from hand radiographs."""
