"""Load on a server: the load generator, what it recorded, and the figures of the streams."""
