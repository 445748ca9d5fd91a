"""What the attack asks of the harness."""

from ....runs.observe import owns_images  # noqa: F401

GREY = 0.5
