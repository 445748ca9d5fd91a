"""What the caller hands over, checked and converted to the form of the harness."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from bench.api.errors import UsageError
from bench.api.gradients import Gradients
from bench.models.users.states import same_names

SMALLEST_SIDE = 11
"""Of an image in pixels: SSIM's window."""


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """PyTorch's threads inside of one operation, put back afterwards.

    The tensors of these searches are small: several threads cost more than they gain, by a factor of a
    hundred where they wait for one another on a busy machine.
    """
    if threads < 1:
        raise UsageError(f"threads={threads}: give 1 or more")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def chosen_device(name: str) -> torch.device:
    """``auto`` is the first GPU, if there is one.

    Raises:
        UsageError: PyTorch knows no such device, or it is not there.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"device={name!r}: {str(error).splitlines()[0]}") from None
    return device


def read_images(images: Tensor, name: str = "images") -> Tensor:
    """Float32 ``[M, C, H, W]``.

    Args:
        images: what was given under the name.
        name: of the argument, for the messages.

    Raises:
        UsageError: another shape or type, or values outside of [0, 1].
    """
    if not isinstance(images, Tensor):
        raise UsageError(f"{name} is {type(images).__name__}: give a tensor [M, C, H, W] in [0, 1]")
    shape = tuple(images.shape)
    if images.dim() == 3:
        raise UsageError(f"{name} has shape {shape}: the leading dimension is missing, give {name}[None]")
    if images.dim() != 4 or not len(images):
        raise UsageError(f"{name} has shape {shape}: give [M, C, H, W] with one image or more")
    if not images.is_floating_point():
        raise UsageError(f"{name} is {images.dtype}: give {name}.float() / 255, values in [0, 1]")
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):  # NaN compares as false, too
        raise UsageError(
            f"{name} has values from {low:.3g} to {high:.3g}, expected [0, 1]: put the normalisation into "
            "the model, as its first layer"
        )
    if min(images.shape[2:]) < SMALLEST_SIDE:
        raise UsageError(f"{name} has shape {shape}: sides of {SMALLEST_SIDE} pixels or more are needed")
    return images.detach().float()


def read_labels(labels: Tensor | Sequence[int], images: int, num_classes: int) -> Tensor:
    """Int64 ``[M]``.

    Raises:
        UsageError: another number than there are images, or no class of the model.
    """
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError) as error:
        raise UsageError(f"labels cannot be read ({error}): give a whole number for each image") from None
    if found.is_floating_point() or tuple(found.shape) != (images,):
        raise UsageError(
            f"labels are {found.dtype} {tuple(found.shape)}: give a whole number for each of {images} images"
        )
    if not bool(((found >= 0) & (found < num_classes)).all()):
        raise UsageError(
            f"labels are from {int(found.min())} to {int(found.max())}, and the model scores {num_classes} "
            f"classes: give 0 to {num_classes - 1}"
        )
    return found.long()


def read_gradients(
    gradients: Mapping[str, Tensor] | Sequence[Tensor],
    shapes: Mapping[str, tuple[int, ...]],
) -> Gradients:
    """Gradients ``[N, ...]`` by parameter name.

    Args:
        gradients: by name, or in the order of the parameters; of one release in the parameters' own shapes,
            or of N with a leading dimension.
        shapes: of the weights that are trained, by name.

    Raises:
        UsageError: names, number or shapes do not fit.
    """
    if isinstance(gradients, Mapping):
        names = same_names(gradients, shapes)
        if names is None:
            at = sorted(gradients.keys() ^ shapes.keys())[0]
            what = "is no parameter that is trained" if at in gradients else "is missing"
            raise UsageError(f"gradients: {at} {what}; the model trains {', '.join(shapes)}")
        named = {names[name]: value for name, value in gradients.items()}
    else:
        given = list(gradients)
        if len(given) != len(shapes):
            raise UsageError(
                f"gradients: {len(given)} tensors, and the model trains {len(shapes)}: give one for each of "
                "its parameters with requires_grad, in their order, or a mapping of names"
            )
        named = dict(zip(shapes, given, strict=True))
    values = {name: _tensor(named[name], name) for name in shapes}
    alone = all(tuple(values[name].shape) == shape for name, shape in shapes.items())
    result = {name: value.unsqueeze(0) if alone else value for name, value in values.items()}
    releases = len(next(iter(result.values())))
    for name, shape in shapes.items():
        if tuple(result[name].shape[1:]) != shape or len(result[name]) != releases:
            raise UsageError(
                f"gradients: {name} has shape {tuple(values[name].shape)}, the parameter's is {shape}: give "
                "this shape, or N of them, stacked, for N releases"
            )
    if not any(bool(value.any()) for value in result.values()):
        raise UsageError("gradients are zero in all entries: nothing was released")
    return result


def _tensor(value: object, name: str) -> Tensor:
    """Float32, from a tensor or an array.

    Raises:
        UsageError: it is neither, or not finite.
    """
    if value is None:
        raise UsageError(f"gradients: that of {name} is None: give zeros where a weight is not used")
    try:
        found = torch.as_tensor(value).detach().float()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"gradients: {name} is no tensor ({error})") from None
    if not bool(found.isfinite().all()):
        raise UsageError(f"gradients: {name} is not finite: a release of this kind holds nothing to search")
    return found


def check_whole(**numbers: object) -> None:
    """Refuses arguments that are no whole numbers of one or more.

    Raises:
        UsageError: naming the argument.
    """
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name}={value!r}: give a whole number, 1 or more")


def check_given(images: object, labels: object, recorded: object, what: str) -> None:
    """Refuses calls that lack what is to be attacked.

    Raises:
        UsageError: naming what is missing.
    """
    if (images is None) != (labels is None):
        missing = "labels" if labels is None else "images"
        raise UsageError(f"{missing} are missing: give images and labels together")
    if images is None and recorded is None:
        raise UsageError(f"give images and labels, or {what}, or all three")


def check_fits(releases: int, images: Tensor, what: str = "gradients") -> None:
    """Refuses releases of another number of clients than there are batches ``[N, B, C, H, W]``.

    Raises:
        UsageError: saying both numbers.
    """
    if releases != len(images):
        raise UsageError(
            f"{what} are of {releases} releases, and the images make {len(images)} batches of "
            f"{images.shape[1]}: give N * batch_size images"
        )


def say(text: str) -> None:
    """A line for whoever sits at the terminal; nothing where the output goes elsewhere."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr, flush=True)


def shape_of(images: Tensor | None, given: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """(C, H, W) of the images, or as it was given without images.

    Raises:
        UsageError: it is not known, or given wrong.
    """
    if images is None:
        if given is None:
            raise UsageError("image_shape is missing: say (C, H, W) of the private images")
        return given
    found = (int(images.shape[1]), int(images.shape[2]), int(images.shape[3]))
    if given not in (None, found):
        raise UsageError(f"image_shape={given}, and the images have {found}: leave image_shape away")
    return found
