"""Continuous batching: which sequence runs, and which rows each step computes."""
