"""The page that every run ends with."""
