"""Speed measurements. They write ``results.md``; no test asserts a time."""
