"""Which version this is."""

VERSION = "0.1.0"  # as in pyproject.toml; a test compares the two
