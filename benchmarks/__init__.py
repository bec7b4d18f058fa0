"""What only developers measure, with the parts of `localrouter bench`: `python -m benchmarks --help`."""
