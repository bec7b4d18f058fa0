"""GGUF files: what their headers say, read without llama.cpp."""
