"""Download the official RSNA 2017 data: fetch, unpack, write a manifest, verify."""
