"""Copies of a network that can be changed, and share its tensors."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def sharing_copy(model: nn.Module, *, buffers: bool = True) -> nn.Module:
    """A copy with modules of its own, and the parameters and, if asked for, the buffers of the original."""
    shared = (*model.parameters(), *(model.buffers() if buffers else ()))
    memo: dict[int, Any] = {id(value): value for value in shared}
    return copy.deepcopy(model, memo)
