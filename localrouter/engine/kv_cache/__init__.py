"""The KV cache: which slot holds which tokens, what is shared, offloaded to host memory, or evicted."""
