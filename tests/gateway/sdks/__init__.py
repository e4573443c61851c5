"""Every official SDK, unchanged but for base and key, through a real gateway."""
