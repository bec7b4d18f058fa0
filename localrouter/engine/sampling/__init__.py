"""From logits to the next token: penalties, distribution, nucleus, seeds."""
