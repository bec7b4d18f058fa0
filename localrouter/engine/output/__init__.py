"""From sampled tokens to text: characters, stop strings, spans, reasoning, log probabilities."""
