"""What a paper takes from a results folder: tabulars, figures and references."""
