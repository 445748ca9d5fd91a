"""``bench check``: proves, on small real data, that a plug-in keeps its contract.

:mod:`place` finds the plug-in, :mod:`card` looks at its files; :mod:`attack`, :mod:`defense`, :mod:`dataset`
and :mod:`device` hold one function for each promise, and :mod:`run` makes a checklist of them. A promise that
is broken raises :class:`~bench.check.findings.Broken` with what was seen and what to do.
"""
