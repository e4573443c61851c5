"""One metered call: admission, relay, settlement."""
