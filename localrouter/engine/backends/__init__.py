"""Backends that compute logits: llama.cpp, and an echo without weights."""
