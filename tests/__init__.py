"""The tests mirror the code: one file per module or page."""
