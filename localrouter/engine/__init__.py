"""Prompt in, text out, many at once. Outside this package only `messages`, `client` and `process` are imported."""
