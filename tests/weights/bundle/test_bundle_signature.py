"""A bundle says who made it, in the way that administrators can check."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from bundle_maker import Sender, sender

from localrouter.weights.bundle.exporter import write_bundle
from localrouter.weights.bundle.index import BundleError, BundleRejected
from localrouter.weights.bundle.reader import Bundle
from localrouter.weights.bundle.signature import NAMESPACE

needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="ssh-keygen is not installed")

__all__ = ["sender"]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """The keys `right` and `other`, and files of allowed signers with the same names."""
    for name in ("right", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / name], check=True)
        (tmp_path / f"{name}.signers").write_text(f"{name}@house {(tmp_path / f'{name}.pub').read_text()}")
    return tmp_path


@needs_ssh_keygen
def test_a_right_signature_names_the_signer(sender: Sender, keys: Path) -> None:
    write_bundle(sender.folder / "out.tar", sender.contents("own"), key=keys / "right")
    with Bundle(sender.folder / "out.tar") as bundle:
        assert bundle.signer(keys / "right.signers") == "right@house"
        bundle.check()


@needs_ssh_keygen
def test_the_signature_can_be_checked_without_localrouter(sender: Sender, keys: Path) -> None:
    write_bundle(sender.folder / "out.tar", sender.contents("own"), key=keys / "right")
    with tarfile.open(sender.folder / "out.tar") as tar:
        tar.extract("bundle.json", keys, filter="data")
        tar.extract("bundle.json.sig", keys, filter="data")
    who = ["-I", "right@house", "-n", NAMESPACE, "-f", "right.signers", "-s", "bundle.json.sig"]
    data = (keys / "bundle.json").read_bytes()
    subprocess.run(["ssh-keygen", "-Y", "verify", *who], input=data, cwd=keys, check=True, capture_output=True)


@needs_ssh_keygen
def test_an_unknown_signer_is_refused(sender: Sender, keys: Path) -> None:
    write_bundle(sender.folder / "out.tar", sender.contents("own"), key=keys / "other")
    with Bundle(sender.folder / "out.tar") as bundle, pytest.raises(BundleRejected, match="by none of the signers"):
        bundle.signer(keys / "right.signers")


@needs_ssh_keygen
def test_a_signature_of_another_index_is_refused(sender: Sender, keys: Path) -> None:
    path = sender.folder / "out.tar"
    write_bundle(path, sender.contents("own"), key=keys / "right")
    path.write_bytes(path.read_bytes().replace(b'"alias": "own"', b'"alias": "gpt"', 1))
    with Bundle(path) as bundle, pytest.raises(BundleRejected, match="does not match"):
        bundle.signer(keys / "right.signers")


@needs_ssh_keygen
def test_a_missing_signature_is_refused_where_one_is_required(sender: Sender, keys: Path) -> None:
    with Bundle(sender.bundle()) as bundle, pytest.raises(BundleRejected, match="not signed"):
        bundle.signer(keys / "right.signers")


@needs_ssh_keygen
def test_a_key_that_is_none_signs_nothing(sender: Sender) -> None:
    with pytest.raises(BundleError, match="signing failed"):
        write_bundle(sender.folder / "out.tar", sender.contents("own"), key=sender.manifest)
