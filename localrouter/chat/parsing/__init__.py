"""Reads tool calls as models write them, while they stream."""
