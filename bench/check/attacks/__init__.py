"""The promises of an attack."""
