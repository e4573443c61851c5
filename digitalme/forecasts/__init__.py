"""What the running periods come to in the end: made by a worker from what was used, held against limits, kept for
pages, programs and warnings."""
