"""Running a matrix: what is missing is computed by workers, and what is finished stays."""
