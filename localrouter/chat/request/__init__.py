"""From a chat request to the parameters of the engine: tools, structured output, reasoning, sampling."""
