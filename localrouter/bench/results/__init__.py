"""Measures, and results as a table, Markdown and JSON."""
