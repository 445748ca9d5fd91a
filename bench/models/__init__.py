"""Victim architectures and the independent evaluator.

Nothing is imported here: :mod:`bench.models.names` must be readable without torch.
"""
