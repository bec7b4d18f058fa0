"""GGUF files: their headers read, and whole files written, without llama.cpp."""
