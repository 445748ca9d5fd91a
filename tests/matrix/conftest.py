from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.plugin_folders import Folders, plugin_folders, standard


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folders]:
    """The attack guess, the defense blur and the data set dots, and none of the project's own."""
    for place in plugin_folders(tmp_path / "plugins", monkeypatch):
        yield standard(place)
