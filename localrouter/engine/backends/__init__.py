"""What computes logits: llama.cpp, or an echo without weights."""
