"""Fields of other servers' APIs in requests: other names of our fields, and fields that ask for nothing."""
