"""OpenAI's schema, as far as localrouter speaks it: pydantic for what people write, msgspec for what we answer."""
