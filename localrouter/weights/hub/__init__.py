"""Client of the Hugging Face hub, and its cache on this machine."""
