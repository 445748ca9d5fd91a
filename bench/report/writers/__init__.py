"""Tables and pages of a results folder, one module for each."""
