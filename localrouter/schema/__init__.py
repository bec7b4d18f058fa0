"""OpenAI's schema, as far as localrouter supports it: requests in pydantic, responses in msgspec."""
