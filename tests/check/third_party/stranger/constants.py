"""A constant that the plug-in imports from its own package."""

GREY = 0.5
