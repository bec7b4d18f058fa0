"""GGUF files of real shapes with random weights and synthetic vocabularies."""
