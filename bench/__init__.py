"""Measurements of the gateway beside a direct call and a plain proxy: `make bench`."""
