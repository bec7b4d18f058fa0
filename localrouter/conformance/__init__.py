"""Conformance checks for any server with an OpenAI-compatible API, through the openai client."""
