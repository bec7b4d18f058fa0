"""How families of models write what is more than text: thoughts, and calls of functions."""
