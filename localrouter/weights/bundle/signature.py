"""Detached signatures through `ssh-keygen -Y`, with the SSH keys that administrators already use."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from localrouter.weights.bundle.index import BundleError, BundleRejected

NAMESPACE = "localrouter-bundle"
"""Namespace of bundle signatures; a signature for another purpose is invalid."""


def sign(data: bytes, key: Path) -> bytes:
    """Return the signature of `data` with a private key, or with a public one whose private half ssh-agent holds.

    ssh-keygen asks for a passphrase on the terminal where the key has one. Raises BundleError.
    """
    run = _ssh_keygen("sign", "-n", NAMESPACE, "-f", str(key), data=data)
    if run.returncode or b"BEGIN SSH SIGNATURE" not in run.stdout:
        raise BundleError(f"{key}: signing failed: {_last_line(run.stderr)}", hint="pass a private SSH key")
    return run.stdout


def check_signature(data: bytes, signature: bytes, signers: Path) -> str:
    """Return the signer of `data`. `signers` is a file in ssh-keygen's ALLOWED SIGNERS format.

    Raises BundleRejected when none of the signers made the signature, BundleError when it cannot be verified.
    """
    if not signers.is_file():
        raise BundleError(
            f"{signers}: there is no such file", hint="write lines such as: name@example.org ssh-ed25519 AAAA..."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "signature"
        file.write_bytes(signature)
        found = _ssh_keygen("find-principals", "-s", str(file), "-f", str(signers))
        if found.returncode:
            raise BundleRejected(
                f"the bundle is signed, but by none of the signers in {signers}",
                hint="get the public key of the bundle's author over a trusted channel",
            )
        for identity in found.stdout.decode(errors="replace").splitlines():
            arguments = ("-I", identity, "-n", NAMESPACE, "-f", str(signers), "-s", str(file))
            if not _ssh_keygen("verify", *arguments, data=data).returncode:
                return identity
    raise BundleRejected("the signature does not match the index of the bundle: one of them was changed")


def _ssh_keygen(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise BundleError(
            "signatures need ssh-keygen, which is not installed", hint="it comes with OpenSSH 8.1 or newer"
        )
    return subprocess.run([program, "-Y", *arguments], input=data, capture_output=True, check=False)  # noqa: S603


def _last_line(text: bytes) -> str:
    return (text.decode(errors="replace").strip().splitlines() or ["ssh-keygen failed"])[-1]
