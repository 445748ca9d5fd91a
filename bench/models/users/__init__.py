"""The user's own networks: found by name, loaded and made ready for the engine."""
