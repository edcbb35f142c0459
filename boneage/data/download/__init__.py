"""Get the official RSNA 2017 data: fetch, unpack, keep a manifest, verify."""
