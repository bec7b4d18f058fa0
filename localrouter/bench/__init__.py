"""Benchmarks of `localrouter bench`: TTFT, ITL and throughput of localrouter and of other servers on one machine."""
