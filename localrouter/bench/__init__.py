"""How fast models run here, and what other servers make of the same machine: what `localrouter bench` is made of."""
