"""How the embedded demo model is made: facts and sentence patterns in, one GGUF file out."""
