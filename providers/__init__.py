"""What a provider is: manifests, injection, metering, prices, and the door to the network."""
