"""The content store of stages, and the keys under which they lie."""
