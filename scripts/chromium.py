"""The browser for tests/browser: prints its path, or what is missing for `make browser`, with exit status 1."""

import shutil
import sys
from collections.abc import Callable

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""Programs that are Chromium, as distributions name them."""
PACKAGES = "apt install chromium npm"


def find(which: Callable[[str], str | None] = shutil.which) -> str | None:
    """Return the path of Chromium; None when it is not on the PATH."""
    return next((path for path in map(which, NAMES) if path), None)


def missing(which: Callable[[str], str | None] = shutil.which) -> str | None:
    """Return a sentence about the programs that `make browser` needs and are not on the PATH; None if all are."""
    absent = [name for name, path in (("Chromium", find(which)), ("npm", which("npm"))) if not path]
    return f"make browser needs {' and '.join(absent)}: {PACKAGES}" if absent else None


def main() -> int:
    """Print the path or the sentence; return the exit status."""
    sentence = missing()
    print(sentence or find(), file=sys.stderr if sentence else sys.stdout)
    return 1 if sentence else 0


if __name__ == "__main__":
    sys.exit(main())
