"""``bench check``: proves, on small real data, that a plug-in keeps its contract.

:mod:`place` finds the plug-in and :mod:`card` looks at its files. The promises are functions, one each, in
:mod:`attack`, :mod:`attack_limits`, :mod:`defense`, :mod:`defense_effect`, :mod:`dataset` and :mod:`device`;
:mod:`run` makes a checklist of them. A promise that is broken raises
:class:`~bench.check.findings.Broken` with what was seen and what to do.
"""
