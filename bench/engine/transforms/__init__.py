"""What clients do to their images before the first layer, known, imitated and undone."""
