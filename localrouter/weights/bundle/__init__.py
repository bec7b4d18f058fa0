"""Bundles: models, and localrouter itself, in one file."""
