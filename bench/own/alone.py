"""One attack by its own name: ``bench.attacks.IDLG()(model, gradients)``."""

from __future__ import annotations

from typing import Any

from bench.api.cards import AttackCard
from bench.api.errors import unknown
from bench.own.gradients import attack_gradients
from bench.own.leak import Leak
from bench.plugins import attack_card, discover


class AttackAlone:
    """An attack with its parameters, to be called.

    Args:
        name: of its folder.
        parameters: those that differ from its card's.
    """

    def __init__(self, name: str, **parameters: Any) -> None:
        self.name = name
        given = ",".join(f"{key}={value}" for key, value in parameters.items())
        self.variant = f"{name}[{given}]" if given else name

    @property
    def card(self) -> AttackCard:
        """What it is, and what its parameters mean."""
        return attack_card(self.name)

    def __call__(self, model: Any, *given: Any, **options: Any) -> Leak:
        """As :func:`~bench.own.gradients.attack_gradients` with this attack alone."""
        return attack_gradients(model, *given, attacks=self.variant, **options)

    def __repr__(self) -> str:
        return f"<attack {self.variant}>"


def by_class_name(name: str) -> type[AttackAlone]:
    """The class that builds such an attack: ``IDLG`` and ``InvertingGradients`` as papers write them.

    Raises:
        AttributeError: there is no attack of that name.
    """
    wanted = name.lower().replace("_", "")
    for folder in discover("attack").plugins:
        if folder.replace("_", "") == wanted:
            return _class(name, folder)
    raise AttributeError(str(unknown("attack", name, discover("attack").plugins)))


def _class(title: str, folder: str) -> type[AttackAlone]:
    def __init__(self: AttackAlone, **parameters: Any) -> None:
        AttackAlone.__init__(self, folder, **parameters)

    return type(title, (AttackAlone,), {"__init__": __init__, "__doc__": attack_card(folder).title})
