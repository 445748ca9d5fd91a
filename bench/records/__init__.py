"""Results as files: the record of a cell, its rows, the folder of a run and what it promises to readers."""
