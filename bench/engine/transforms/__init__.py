"""What clients do before they send, known, imitated and undone: to their images, to weights of their own."""
