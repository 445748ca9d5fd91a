"""``bench leak``: what one update of a federation gives away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.api.errors import UsageError
from bench.cli.check import printable

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(short_help="What one update of your federation gives away.")
@click.option(
    "-m", "--model", required=True, metavar="MODEL", help="Your network: nets:xray, lenet, file.pt2."
)
@click.option("--weights", type=FILE, help="The weights that the server sent.  [default: those of round 0]")
@click.option("-D", "--dataset", metavar="DATASET", help="Your images: folder[path=xrays,size=64].")
@click.option(
    "--images", type=click.IntRange(min=1), metavar="N", default=8, show_default=True, help="Private ones."
)
@click.option(
    "--update", type=FILE, help="A recorded gradient; with --learning-rate weights before less after."
)
@click.option("--after", type=FILE, help="The client's weights after its steps, of those in --weights.")
@click.option("--originals", type=FILE, help="The images behind it: .npz with images and labels.")
@click.option("--shape", metavar="CxHxW", help="Of an image, without a data set.")
@click.option(
    "--classes", type=click.IntRange(min=2), metavar="K", help="Of the network, without a data set."
)
@click.option(
    "-B",
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Of a client.",
)
@click.option(
    "--local-steps",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Of a client.",
)
@click.option(
    "--learning-rate", type=click.FloatRange(min=0, min_open=True), metavar="RATE", help="Of these steps."
)
@click.option("-d", "--defense", metavar="DEFENSE", help="Of the clients: noise[sigma=0.01].")
@click.option("--ignore-defense", is_flag=True, help="Attackers do not know it.")
@click.option("-a", "--attack", "attacks", multiple=True, metavar="ATTACK", help="Only this attack.")
@click.option(
    "--learn", is_flag=True, help="Also attacks that learn from the data set's other images (minutes)."
)
@click.option(
    "--batch-norm",
    type=click.Choice(["train", "eval"]),
    default="train",
    show_default=True,
    help="Of your network: by the client's own batch, as in training, or by public statistics.",
)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    metavar="N",
    default=1000,
    show_default=True,
    help="Evaluations of each attack.",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    metavar="T",
    default=10.0,
    show_default=True,
    help="For all attacks together; where they would take longer, each has fewer evaluations.",
)
@click.option(
    "--seed", type=int, metavar="N", default=0, show_default=True, help="Of starts and of the split."
)
@click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda")
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    metavar="N",
    default=1,
    show_default=True,
    help="Of one operation.",
)
@click.option(
    "-o",
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("leak.html"),
    show_default=True,
)
def leak(
    *, model: str, dataset: str | None, weights: Path | None, out: Path, **options: Any
) -> None:  # fmt: skip
    """Attacks one update of a federation with everything that applies, and writes a page.

    \b
    What would images give away?       bench leak -m nets:xray -D 'folder[path=xrays]'
    A recorded gradient:               bench leak -m nets:xray --weights w.pt --update g.safetensors
                                         --shape 1x64x64 --classes 2
    A round of federated averaging:    bench leak -m nets:xray --weights before.npz --after after.npz
                                         --local-steps 5 --learning-rate 0.01 --shape 1x64x64 --classes 2

    Nothing is trained but what attackers learn. Not found is not hidden.
    """  # noqa: D301 - click's mark for lines that it may not join
    from bench.own.command import Asked, answer

    def tell(text: str) -> None:
        click.echo(printable(text), err=True)

    shape = _shape(options.pop("shape"))
    found = answer(Asked(model=model, dataset=dataset, weights=weights, shape=shape, **options), tell=tell)
    place = found.save(out)
    click.echo(printable(found.sentence))
    for text in found.warnings:
        click.echo(printable(f"note: {text}"))
    click.echo(printable(f"wrote {place}"))


def _shape(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.lower().split("x")
    if len(parts) != 3 or not all(part.isdigit() and int(part) for part in parts):
        raise UsageError(f"--shape {text}: write channels, height and width, such as 1x64x64")
    return int(parts[0]), int(parts[1]), int(parts[2])
