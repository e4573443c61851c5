"""What comes in from elsewhere and goes out for safe-keeping: old settings, backups."""
