"""What the attack asks of the harness."""

from ....cells.stages import reconstruction  # noqa: F401

GREY = 0.5
