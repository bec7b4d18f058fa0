"""The servers that are compared, and the processes that they run in."""
