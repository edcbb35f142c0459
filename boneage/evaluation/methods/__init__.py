"""The methods of a run as text for a paper, and the checklist that it answers."""
