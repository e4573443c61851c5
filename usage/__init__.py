"""Usage: a record for every call, and the rollups that pages read."""
