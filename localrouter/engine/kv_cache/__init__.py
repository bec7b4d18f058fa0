"""The KV cache: which slot holds which tokens, and what is shared, offloaded to host memory or evicted.

Bookkeeping only: the backend holds the keys and values. `kv_cache.KvCache` is what the rest of the engine uses.
"""
