"""Conformance checks by subject."""
