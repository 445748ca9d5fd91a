"""What the attacks of one call found, for programs, notebooks and as a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment

from bench.api.errors import UsageError
from bench.api.threat import Channel
from bench.channels import terms
from bench.own.attempt import Attempt, Outcome, strongest
from bench.own.choose import without_effect
from bench.plugins import build_defense, defense_card, discover
from bench.records.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

LUCK = 0.05
"""Probability up to which luck explains nothing."""
SHOWN = 16
"""Images of the page: the first ones, never the best ones."""
_TEMPLATES = Path(__file__).parent
_ENVIRONMENT = Environment(autoescape=True)
HEAD = ("attack", "found", "PSNR dB", "SSIM", "LPIPS", "labels", "explained", "evaluations", "seconds")


@dataclass(frozen=True, kw_only=True)
class Leak:
    """What a server, or whoever reads along, can rebuild: a lower bound, by these attacks.

    Attributes:
        channel: what left: ``gradients``, ``smashed`` or ``model``.
        threat: what the attacker knows, in words, by subject.
        attempts: every attack, also those that do not apply.
        floor: what a blind guess reaches that never sees the release; None where no original is known.
        chance: at most so probable is it that a blind guess counts as found; None where no list is known.
        listed: images in the list of which a reconstruction must be nearest to its original.
        images: ``[N, B, C, H, W]``, what the strongest attack rebuilt, in the originals' order; None if no
            attack applied.
        originals: ``[N, B, C, H, W]``, where they were given; on channel ``model`` the private images of the
            class that come nearest.
        frame: a row for each attack and image: attack, adversary, release, image, found, psnr, ssim, lpips.
        warnings: what limits the answer.
    """

    channel: str
    threat: dict[str, str]
    attempts: tuple[Attempt, ...]
    floor: Attempt | None
    chance: float | None
    listed: int
    images: Tensor | None
    originals: Tensor | None
    frame: pd.DataFrame
    warnings: tuple[str, ...] = ()

    @property
    def strongest(self) -> Attempt | None:
        """The attack that found most images, then the one nearest to them; a bound is none."""
        return strongest(self.attempts)

    @property
    def found(self) -> int | None:
        """Private images that the strongest attack found; None where they are not known, or none applied."""
        return self.strongest.found if self.strongest else None

    @property
    def beyond_chance(self) -> bool:
        """Whether so many are found that blind guesses would be so lucky in one of twenty cases or fewer."""
        if not self.found or self.images is None or self.chance is None:
            return False
        from scipy.stats import binom

        count = self.images.shape[0] * self.images.shape[1]
        return bool(binom.sf(self.found - 1, count, self.chance) <= LUCK)

    @property
    def sentence(self) -> str:
        """The answer, never more than was tried."""
        best, tried = self.strongest, [item for item in self.attempts if item.outcome is Outcome.DONE]
        if best is None or self.images is None:
            return "No attack was run: see the reasons beside each."
        guess = f"a blind guess {self.floor.psnr:.1f} dB" if self.floor else ""
        if best.found is None and self.originals is not None:
            return f"{best.name} comes to {best.psnr:.1f} dB of the one image ({guess})."
        if best.found is None:
            blind = f" (a blind guess {self.floor.explained:.1%})" if self.floor else ""
            return (
                f"The originals are not known here; {best.name} explains {best.explained:.1%} of what was "
                f"released{blind}: look at its images."
            )
        count = self.images.shape[0] * self.images.shape[1]
        names = ", ".join(item.name for item in tried if not item.bound)
        if terms(self.channel).by_class:
            control = self.floor.found if self.floor else None
            return (
                f"{best.found} of {count} images of {best.name} show their class to another network (images "
                f"drawn blindly: {control})."
            )
        if best.found and not self.beyond_chance:
            text = (
                f"{best.found} of {count} reconstructions ({best.name}) are nearest to their original, which "
                f"guesses in a list of {self.listed} can be, too: not found by these attacks: {names}. Not "
                "found is not hidden."
            )
        elif best.found:
            text = f"{best.found} of {count} private images were found, by {best.name}"
            text += f" (median {best.psnr:.1f} dB; {guess})."
        else:
            text = f"None of {count} private images was found by these attacks: {names}."
            text += " Not found is not hidden."
        for item in tried:
            if item.bound and item.found is not None:
                text += f" From a list of {self.listed}, {item.name} names {item.found} of {count}."
        return text

    def __repr__(self) -> str:
        return f"<Leak on {self.channel}: {self.sentence}>"

    def _repr_html_(self) -> str:
        return _render(self, "fragment.html.j2")

    def save(self, path: str | Path) -> Path:
        """Writes a page that needs no other file: what was tried, found, and not tested.

        Raises:
            UsageError: the file cannot be written.
        """
        place = Path(path).expanduser()
        try:
            write_atomic(place, _render(self, "leak.html.j2").encode())
        except OSError as error:
            raise UsageError(f"{place} cannot be written ({error.strerror}): name another file") from None
        return place


def _render(leak: Leak, template: str) -> str:
    body = _ENVIRONMENT.from_string((_TEMPLATES / "fragment.html.j2").read_text(encoding="utf-8"))
    done = [item for item in leak.attempts if item.outcome is Outcome.DONE]
    values = {
        "leak": leak,
        "head": HEAD,
        "rows": [(item is leak.strongest, _cells(item)) for item in done],
        "floor": _cells(leak.floor) if leak.floor else None,
        "left": [item for item in leak.attempts if item.outcome is not Outcome.DONE],
        "picture": picture(leak.originals, leak.images),
        "shown": min(SHOWN, leak.images.shape[0] * leak.images.shape[1]) if leak.images is not None else 0,
        "defenses": _defenses(leak.channel),
    }
    inner = body.render(**values)
    if template == "fragment.html.j2":
        return inner
    text = (_TEMPLATES / template).read_text(encoding="utf-8")
    return _ENVIRONMENT.from_string(text).render(**values, body=inner)


def _cells(item: Attempt) -> list[str]:
    name = f"{item.name} (names one of a list)" if item.bound else item.name
    return [
        name,
        "unknown" if item.found is None else str(item.found),
        _number(item.psnr, ".1f"),
        _number(item.ssim, ".3f"),
        _number(item.lpips, ".3f"),
        _number(item.labels, ".0%"),
        _number(item.explained, ".1%"),
        _number(item.evaluations, ",.0f"),
        _number(item.seconds, ".1f"),
    ]


def _number(value: float, form: str) -> str:
    return format(value, form) if value == value else "–"


def _defenses(channel: str) -> list[tuple[str, str]]:
    """Defenses that a call can apply, with how it is written."""
    found = []
    for name in sorted(discover("defense").plugins):
        card = defense_card(name)
        if card.strength and not without_effect(build_defense(name, {}), Channel(channel)):
            usual = card.parameters[card.strength].default
            found.append((card.title, f"{name}[{card.strength}={usual}]"))
    return found


def picture(originals: Tensor | None, images: Tensor | None) -> str:
    """A PNG in base64: originals above, what was rebuilt below; empty without images."""
    if images is None:
        return ""
    import torch
    from PIL import Image

    parts = [images] if originals is None else [originals, images]
    rows = [torch.cat(list(part.flatten(0, 1)[:SHOWN].cpu()), dim=-1) for part in parts]
    whole = torch.cat(rows, dim=-2).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)
    pixels = (whole * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()
