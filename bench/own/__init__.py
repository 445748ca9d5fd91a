"""Your own model in one call: what can the suite's attacks rebuild of images that it has seen?

:func:`~bench.own.gradients.attack_gradients` and its neighbours take a ``torch.nn.Module`` from memory and
return a :class:`~bench.own.leak.Leak`. They run in the caller's process and leave the caller's model alone.
"""
