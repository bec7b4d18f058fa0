"""Detached signatures with `ssh-keygen -Y`, the tool and the keys that administrators have already."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from localrouter.weights.bundle.index import BundleError, BundleRefused

NAMESPACE = "localrouter-bundle"
"""What these signatures are for; one made for anything else does not count."""


def sign(data: bytes, key: Path) -> bytes:
    """The signature of `data` with a private key, or a public one whose private half an agent holds.

    Asks for a passphrase on the terminal where the key has one. Raises BundleError.
    """
    run = _ssh_keygen("sign", "-n", NAMESPACE, "-f", str(key), data=data)
    if run.returncode or b"BEGIN SSH SIGNATURE" not in run.stdout:
        raise BundleError(f"{key}: this key does not sign: {_last_line(run.stderr)}", hint="name a private SSH key")
    return run.stdout


def check_signature(data: bytes, signature: bytes, signers: Path) -> str:
    """Who of `signers` signed `data`. The file is one of ssh-keygen's ALLOWED SIGNERS.

    Raises BundleRefused when nobody of them did, BundleError when it cannot be found out.
    """
    if not signers.is_file():
        raise BundleError(
            f"{signers}: there is no such file", hint="it has lines like: name@example.org ssh-ed25519 AAAA..."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        found = _ssh_keygen("find-principals", "-s", str(file), "-f", str(signers))
        if found.returncode:
            raise BundleRefused(
                f"the bundle is signed, but by nobody who is named in {signers}",
                hint="ask whoever made the bundle for the public key, over a way that you trust",
            )
        for identity in found.stdout.decode(errors="replace").splitlines():
            who = ("-I", identity, "-n", NAMESPACE, "-f", str(signers), "-s", str(file))
            if not _ssh_keygen("verify", *who, data=data).returncode:
                return identity
    raise BundleRefused("the signature does not fit the index of the bundle: one of them was changed")


def _ssh_keygen(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise BundleError(
            "signatures need ssh-keygen, which is not installed", hint="it comes with OpenSSH 8.1 or newer"
        )
    return subprocess.run([program, "-Y", *arguments], input=data, capture_output=True, check=False)  # noqa: S603


def _last_line(text: bytes) -> str:
    return (text.decode(errors="replace").strip().splitlines() or ["ssh-keygen failed"])[-1]
