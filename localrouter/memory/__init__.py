"""The memory that models take, and that machines have. Pure but for `machine`."""
