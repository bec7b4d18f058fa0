"""Benchmarks for developers, built on `localrouter.bench`: `python -m benchmarks --help`."""
