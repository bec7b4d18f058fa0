"""Eviction policy: which idle slot gives up its KV cells or its id. Pure functions of the slots and the radix tree."""

from collections.abc import Collection

from localrouter.engine.kv_cache.radix_tree import RadixTree


def slot_to_free_cells(idle: Collection[int], tree: RadixTree, spare: int | None = None) -> int | None:
    """Return the idle slot to evict when cells are needed, never `spare`. `idle` is ordered, least recently used first.

    That is the first one whose eviction frees a cell. Where each cell is held by several idle slots, evicting one frees
    nothing yet, and the first slot is returned. Returns None if evicting all idle slots would free nothing.
    """
    candidates = [slot for slot in idle if slot != spare]
    slot = next((slot for slot in candidates if tree.exclusive_cells(slot)), None)
    return candidates[0] if slot is None and candidates and tree.held_only_by(candidates) else slot


def slot_to_reuse(idle: Collection[int], tree: RadixTree, spare: int | None = None) -> int | None:
    """Return the idle slot to evict when a slot is needed, never `spare`. `idle` is ordered, least recently used first.

    That is the slot of the older half whose eviction loses the fewest cells. Returns None if there is no idle slot.
    """
    older = [slot for slot in idle if slot != spare][: len(idle) // 2 + 1]
    return min(older, key=tree.exclusive_cells) if older else None
