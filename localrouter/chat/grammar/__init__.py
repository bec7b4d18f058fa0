"""From what a request wants of an answer to one grammar for all of it, in llguidance's dialect of Lark; pure."""
