"""Speed, as ratios against named alternatives run side by side. `make bench`, or `python -m tests.benchmarks label
pack`; `--tiny` runs them on so little that their figures mean nothing, to see that they go through."""
