"""One picture per group: private images above what each attack made of each defense's release."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from bench.records.files import write_atomic
from bench.report.analysis.entries import Group
from bench.report.figures.figures import slug
from bench.report.frames import DONE, GROUP
from bench.report.text import shorten

_SCALE = 2
_GAP = 6
_GREYS = 16


class _Sheet(NamedTuple):
    """One cell's pictures: ``label`` has two lines, ``image`` two rows."""

    label: str
    image: Image.Image
    strongest: bool


def write(directory: Path, cells: pd.DataFrame, groups: tuple[Group, ...]) -> None:
    """Stitches ``sheets/<cell id>.png`` of the first seed into ``figures/``.

    ``gallery-<group>.png`` shows every attack on every defense, ``worst-<group>.png`` the strongest alone.
    """
    folder = directory / "figures"
    kept = set()
    for group in groups:
        mine = (cells[GROUP] == [getattr(group, name) for name in GROUP]).all(axis=1)
        sheets = _sheets(directory / "sheets", cells[mine & (cells["status"] == DONE)], group)
        worst = [sheet for sheet in sheets if sheet.strongest]
        for kind, shown in (("gallery", [*map(_marked, sheets)]), ("worst", worst)):
            if shown:
                name = f"{kind}-{slug(group)}.png"
                write_atomic(folder / name, _stitch(shown, paired=group.terms.by_class))
                kept.add(name)
    for old in [*folder.glob("gallery-*.png"), *folder.glob("worst-*.png")]:
        if old.name not in kept:
            old.unlink()


def _marked(sheet: _Sheet) -> _Sheet:
    """Says where an attack is the strongest of its row."""
    return sheet._replace(label=f"{sheet.label} (strongest)") if sheet.strongest else sheet


def _sheets(folder: Path, cells: pd.DataFrame, group: Group) -> list[_Sheet]:
    """The sheets of the first seed, in the order of the tables."""
    found = []
    columns = ["id", "defense", "strength", "attack", "adversary"]
    first = cells.loc[cells["seed"] == cells["seed"].min(), columns]
    for row in group.rows:
        same = first["strength"].isna() if math.isnan(row.strength) else first["strength"] == row.strength
        mine = first[(first["defense"] == row.defense) & same].sort_values(["attack", "adversary"])
        places = {entry.name: (entry.floor, number) for number, entry in enumerate(row.attacks)}
        names = mine["attack"] + "/" + mine["adversary"]
        if group.terms.by_class:  # controls last
            mine = mine.assign(place=names.map(places)).sort_values("place")
        for cell in mine.itertuples():
            image = _open(folder / f"{cell.id}.png")
            if image is not None:
                attack = f"{cell.attack}/{cell.adversary}"
                strongest = row.strongest is not None and row.strongest.name == attack
                suffix = "" if math.isnan(row.strength) else f" = {row.strength:g}"
                control = group.terms.by_class and places[attack][0]
                label = f"{row.defense}{suffix}\n{attack}{' (control)' if control else ''}"
                found.append(_Sheet(label, image, strongest))
    return found


def _open(path: Path) -> Image.Image | None:
    """A sheet with two rows of square images, or None if it is missing or unreadable."""
    try:
        with Image.open(path) as image:
            return image.convert("L" if image.mode in ("1", "L") else "RGB")
    except (OSError, ValueError, SyntaxError):
        return None


def _stitch(sheets: list[_Sheet], *, paired: bool) -> bytes:
    """The originals of the first sheet on top, then the reconstructions of every sheet.

    ``paired`` are sheets of classes: each has nearest private images of its own, which stand above its
    reconstructions.
    """
    rows = [("private images", _half(sheets[0].image, 0))] if not paired else []
    for sheet in sheets:
        above = [("nearest private images", _half(sheet.image, 0))] if paired else []
        rows += [*above, (sheet.label, _half(sheet.image, 1))]
    font = ImageFont.load_default(size=14)
    labels = ["\n".join(shorten(line, 56) for line in label.split("\n")) for label, _ in rows]
    left = 2 * _GAP + max(int(font.getlength(line)) for label in labels for line in label.split("\n"))
    size = (left + max(image.width for _, image in rows), sum(image.height + _GAP for _, image in rows))
    # Grey pictures stay grey: a third of the bytes, and of the time.
    mode = "RGB" if any(image.mode == "RGB" for _, image in rows) else "L"
    canvas = Image.new(mode, size, "white")
    draw = ImageDraw.Draw(canvas)
    top = 0
    for label, (_, image) in zip(labels, rows, strict=True):
        middle = top + image.height // 2
        draw.multiline_text((_GAP, middle), label, fill="black", font=font, anchor="lm", spacing=2)
        canvas.paste(image, (left, top))
        top += image.height + _GAP
    if mode == "L":  # the exact pixels are in sheets/; here 16 greys do, in half of the bytes
        canvas = canvas.quantize(_GREYS)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _half(sheet: Image.Image, row: int) -> Image.Image:
    height = sheet.height // 2
    part = sheet.crop((0, row * height, sheet.width, (row + 1) * height))
    return part.resize((part.width * _SCALE, part.height * _SCALE), Image.Resampling.NEAREST)
