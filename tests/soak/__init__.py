"""Long runs of many random requests, for what only shows after hours of use."""
