"""Other APIs than chat completions, translated to chat requests and from their chunks."""
