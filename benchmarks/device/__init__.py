"""Measurements on another device, mostly a GPU; ``benchmarks/device.sh --help`` explains the options."""
