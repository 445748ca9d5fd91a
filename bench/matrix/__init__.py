"""From a matrix file to cells: what is to be measured, and what cannot be, with reasons."""

from bench.matrix.cells import Cell, Variant
from bench.matrix.expand import expand
from bench.matrix.files import Matrix, load_matrix, matrices
from bench.matrix.filters import Filters, parse_variant

__all__ = ["Cell", "Filters", "Matrix", "Variant", "expand", "load_matrix", "matrices", "parse_variant"]
