"""Typed options in the brackets of a model's name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress

from bench.api.card_parts import Parameter, Value
from bench.api.errors import UsageError

_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


def taken(
    options: dict[str, str], declared: Mapping[str, Parameter], where: str
) -> tuple[tuple[str, Value], ...]:
    """Takes declared parameters out of the options; those at their default are left out.

    Raises:
        UsageError: a value that the parameter does not allow.
    """
    chosen: dict[str, Value] = {}
    for key, parameter in declared.items():
        if key not in options:
            continue
        value = _typed(options.pop(key), parameter)
        if problem := parameter.problem(value):
            raise UsageError(f"{where}: {key}: {problem}")
        if value != parameter.default:
            chosen[key] = value
    return tuple(sorted(chosen.items()))


def _typed(text: str, parameter: Parameter) -> Value:
    if isinstance(parameter.default, int) and _WHOLE_NUMBER.fullmatch(text):
        return int(text)
    if isinstance(parameter.default, float):
        with suppress(ValueError):
            return float(text)
    return text


def shown(value: Value) -> str:
    """As it is read again; whole numbers without a point."""
    return str(value).removesuffix(".0") if isinstance(value, float) else str(value)
