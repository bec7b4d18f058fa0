"""Offline bundles: models and localrouter's wheels in one reproducible file."""
