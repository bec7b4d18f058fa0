"""Writes size and sha256 of the demo model into the manifest, as training does. Run `python -m training.pin`."""

import hashlib
import re
from pathlib import Path

_TOP = Path(__file__).resolve().parent.parent
ASSET = _TOP / "localrouter" / "assets" / "demo.gguf"
MANIFEST = _TOP / "model_manifest.toml"
_PIN = re.compile(r'(asset = "demo\.gguf"\nsize = )[\d_]+(\nsha256 = ")[0-9a-f]{64}"')


def write(asset: Path, manifest: Path) -> None:
    """Replace both in the manifest's text, where they stand below `asset`. Raises ValueError when they do not."""
    data = asset.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    text, count = _PIN.subn(rf'\g<1>{len(data):_}\g<2>{digest}"', manifest.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{manifest}: no size and sha256 stand below asset = {asset.name!r}")
    manifest.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    write(ASSET, MANIFEST)
