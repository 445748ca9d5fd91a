"""The promises of a defense."""
