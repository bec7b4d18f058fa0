"""Constrained decoding: grammars compiled with llguidance and followed token by token."""
