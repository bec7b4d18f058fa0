"""The HTTP API: routes, request parsing, error responses, and the server."""
