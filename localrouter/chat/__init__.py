"""From a chat request to a prompt, and from the engine's events to a response."""
