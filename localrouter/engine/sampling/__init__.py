"""Sampling of the next token from logits: penalties, temperature, top-k, min-p, top-p, seeds, log probabilities."""
