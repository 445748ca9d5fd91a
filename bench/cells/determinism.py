"""Every source of chance and every choice of kernel, fixed before a stage runs."""

from __future__ import annotations

import random

import numpy as np
import torch


def make_deterministic(device: torch.device) -> None:
    """Fixes them, also for plug-ins that forget to."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined] # costs time
    torch.manual_seed(0)
    random.seed(0)
    np.random.seed(0)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = False
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
