"""What a request asks of the engine: tools, response format, reasoning, sampling."""
