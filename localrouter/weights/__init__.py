"""Models on disk: which builds the manifest names, where their files are, and what a GGUF says of itself."""
