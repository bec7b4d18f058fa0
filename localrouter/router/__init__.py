"""Engines of the server: started for requests, leased, and unloaded when idle."""
