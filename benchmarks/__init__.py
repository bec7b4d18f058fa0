"""How fast localrouter is, beside llama.cpp's own programs: `python -m benchmarks --help`."""
