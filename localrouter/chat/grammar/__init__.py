"""From the tools and the structured output of a request to one grammar, in llguidance's dialect of Lark; pure."""
