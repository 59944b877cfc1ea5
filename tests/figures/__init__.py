"""The README's tables, from runs that a command makes: `python -m tests.figures --help`."""
