"""What plug-ins are tried on: small real data, and what leaks of it on each channel."""
