"""Pin of a build of the hub: one commit, and size and digest of every file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PinnedFile:
    """One file of a repository. `name` is its path in the repository, `size` in bytes, `sha256` in lower-case hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Pin:
    """Pin of a build: its files at one commit (40 hex digits), all parts in order where the GGUF is split."""

    repo: str
    commit: str
    files: tuple[PinnedFile, ...]
    license: str | None = None
    template_sha256: str | None = None
    """Digest of the chat template in the GGUF's header, if it has been read."""

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)
