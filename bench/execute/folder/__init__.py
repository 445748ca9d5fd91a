"""A results folder against its matrix: how far it is, put together of parts, pinned to a commit."""
