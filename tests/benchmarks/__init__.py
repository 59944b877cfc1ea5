"""Speed, as ratios against named alternatives run side by side. `make bench`, or `python -m tests.benchmarks label
pack`."""
