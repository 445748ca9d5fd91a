"""What leaks: one object for each channel, in a file of its name.

All that differs by channel lives here: how the victim is trained, what leaves it, what its attacker may see,
how what is rebuilt is scored, and the words for it. A file that is put beside these, or into a folder
``channels`` of ``$BENCH_PLUGIN_PATH``, is a further channel: it binds ``CHANNEL`` to an object of
:class:`~bench.channels.shared.contract.ChannelKind`. Importing one imports no torch.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bench.search_path import channel_folders, channel_names

if TYPE_CHECKING:
    from bench.channels.shared.contract import ChannelKind
    from bench.channels.shared.terms import Terms

__path__ = channel_folders()


@cache
def channel(name: str) -> ChannelKind:
    """The channel of a name.

    Args:
        name: of its file, such as ``gradients``.

    Raises:
        ImportError: there is none.
    """
    found: ChannelKind = import_module(f"bench.channels.{name}").CHANNEL
    return found


def channel_file(name: str) -> Path:
    """Where the code of a channel lies."""
    return Path(str(import_module(f"bench.channels.{name}").__file__))


def terms(name: str, lpips_side: int = 0) -> Terms:
    """The metrics and words of a channel, of images that were enlarged for LPIPS to so many pixels."""
    words = channel(name).terms
    return words.enlarged(lpips_side) if lpips_side else words


def of_classes(title: str) -> bool:
    """Whether classes are rebuilt in the setting of a title, which begins with the name of its channel."""
    name = title.partition(" ")[0]
    return name in channel_names() and channel(name).terms.by_class
