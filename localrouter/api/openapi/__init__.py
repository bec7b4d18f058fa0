"""The OpenAPI document of all routes, made from the types of requests and responses."""
