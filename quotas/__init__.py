"""Quotas: limits, allocations, and the ledger that no call escapes."""
