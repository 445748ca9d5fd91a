"""Attacks, one folder each; see `bench.search_path` for the places they are found in."""

from bench.search_path import search_path

__path__ = search_path("attacks")
