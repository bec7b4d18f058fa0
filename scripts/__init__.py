"""Setup scripts called by the Makefile."""
