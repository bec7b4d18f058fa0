"""A Hugging Face cache made by hand: blobs, refs and snapshots, as the library lays them out."""

import hashlib
from pathlib import Path

FIRST, SECOND = "a" * 40, "b" * 40


class HubCache:
    def __init__(self, root: Path) -> None:
        self.root = root

    def add(self, repo: str, file: str, content: bytes, *, revision: str = FIRST, main: bool = False) -> Path:
        """Put a file into a snapshot, a link to a blob named by its sha256; `main`: refs/main names the snapshot."""
        folder = self.root / f"models--{repo.replace('/', '--')}"
        blob = folder / "blobs" / hashlib.sha256(content).hexdigest()
        pointer = folder / "snapshots" / revision / file
        for directory in (blob.parent, pointer.parent, folder / "refs"):
            directory.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(content)
        pointer.symlink_to(blob)
        if main:
            (folder / "refs" / "main").write_text(revision)
        return pointer
