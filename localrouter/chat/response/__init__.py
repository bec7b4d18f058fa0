"""From the events of the engine to responses and chunks."""
