"""Networks that several metric tests share; building one takes seconds."""

from __future__ import annotations

import pytest

from bench.metrics import Lpips, MissingWeights


def _lpips(net: str) -> Lpips:
    try:
        return Lpips(net)  # type: ignore[arg-type]
    except MissingWeights as error:
        pytest.skip(f"no genuine LPIPS weights on this machine: {error}")


@pytest.fixture(scope="session")
def alex() -> Lpips:
    return _lpips("alex")


@pytest.fixture(scope="session")
def vgg() -> Lpips:
    return _lpips("vgg")
