"""Warnings that need more than keys, limits or usage alone: looked for by the clock, never while a call waits."""
