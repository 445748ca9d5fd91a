"""What the stranger says about images."""
