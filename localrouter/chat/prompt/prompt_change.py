"""The changes that fit a conversation to a chat template, which `explain` lists."""

import msgspec


class PromptChange(msgspec.Struct, frozen=True):
    """One change that fits a conversation to a chat template."""

    what: str
    """The kind of change, in one word: `merged_system` for instance."""
    where: int | None
    """Index of the changed message in the request; None: the change is to no message of the request."""
    why: str
