"""Minimisers for many victims at once."""
