"""Manifests and locks: which builds there are, and what exactly each one is."""
