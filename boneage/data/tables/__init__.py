"""Tables: reading them, what their columns mean, and matching their ids with files."""
