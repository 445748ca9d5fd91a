"""The command line: parse, call, print. Importing it loads neither torch nor pandas nor rich."""
