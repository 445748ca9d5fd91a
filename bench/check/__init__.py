"""``bench check``: proves, on small real data, that a plug-in keeps its contract.

:mod:`place` finds the plug-in and :mod:`card` looks at its files. The promises are functions, one each, in
:mod:`attacks`, :mod:`defenses`, :mod:`dataset`, :mod:`model` and :mod:`device`; :mod:`promises` says which of
them a plug-in keeps, :mod:`run` makes a checklist of them. Attacks of every channel keep the same ones: a
:class:`~bench.check.materials.trial.Trial` says what they are tried on. While a plug-in runs, :mod:`guard`
sees what it touches, :mod:`counters` what it spends, :mod:`elsewhere` where it computes.
A promise that is broken raises :class:`~bench.check.findings.Broken` with what was seen and what to do.
"""
