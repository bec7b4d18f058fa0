"""How families of models write reasoning and tool calls."""
