"""`localrouter bundle`: offline bundles, one file with models and localrouter's wheels for an air-gapped install."""

import json
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from localrouter.cli.exit_status import FAILED, exit_statuses
from localrouter.cli.list import human_size
from localrouter.cli.options import FILE, json_option, offline_option, talk
from localrouter.cli.progress import watching

if TYPE_CHECKING:
    from localrouter.weights.bundle.exporter import BundleContents
    from localrouter.weights.bundle.index import BundleIndex

Command = TypeVar("Command", bound=Callable[..., Any])

_REJECTED = "the bundle is damaged or its signature is invalid"
_FOLDER = click.Path(path_type=Path, file_okay=False)

_signers = click.option(
    "--signers",
    type=FILE,
    metavar="FILE",
    help="Require a signature by a signer in this file (ssh-keygen's ALLOWED SIGNERS).",
)


@click.group("bundle", epilog=exit_statuses("done", _REJECTED))
def bundle() -> None:
    """Offline bundles: carry models, and localrouter itself, to an air-gapped machine.

    Bundles are reproducible: the same inputs give the same bytes.
    """


@bundle.command(epilog=exit_statuses("written"))
@click.argument("out", type=FILE, metavar="OUT.tar")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--with-wheels", is_flag=True, help="Add wheels of localrouter and its dependencies, for this Python and platform."
)
@click.option("--sign", "key", type=FILE, metavar="KEY", help="Sign the bundle with this SSH key, through ssh-keygen.")
@click.option(
    "--manifest", type=FILE, envvar="LOCALROUTER_MANIFEST", metavar="FILE", help="The model manifest to read."
)
@click.option("--delta", type=FILE, metavar="LOCKFILE", help="Leave out files that this lockfile pins.")
@offline_option
@json_option
def create(
    out: Path, names: tuple[str, ...], *, with_wheels: bool, offline: bool, as_json: bool, **options: Path | None
) -> None:
    """Write the builds that these names resolve to on this machine into OUT.tar."""
    from localrouter.weights.bundle.exporter import write_bundle  # imported late for a fast --help

    with tempfile.TemporaryDirectory() as scratch:
        contents = _contents(names, options["manifest"], options["delta"])
        if with_wheels:
            contents = _add_wheels(contents, Path(scratch), offline=offline)
        with watching(f"writing {out.name}", contents.size) as report:
            index = write_bundle(out, contents, key=options["key"], report=report)
    if as_json:
        said = _facts(out, index) | {"signed": options["key"] is not None}
        click.echo(json.dumps(said, indent=2))
        return
    talk(f"{out}: {human_size(out.stat().st_size)}, {', '.join(build.name for build in index.builds)}")
    if index.presupposed:
        talk(f"left out, since the lockfile has them: {', '.join(file.name for file in index.presupposed)}")
    if index.wheels:
        talk(f"wheels for {index.wheels.python} on {index.wheels.platform} ({index.wheels.libc or 'any libc'})")
        talk("llama.cpp in the wheels is portable: it runs on any CPU of this architecture")


@bundle.command(epilog=exit_statuses("the bundle is intact", _REJECTED))
@click.argument("file", type=FILE)
@_signers
@offline_option
@json_option
def verify(file: Path, *, signers: Path | None, offline: bool, as_json: bool) -> None:
    """Read a bundle and check the size and sha256 of every file against its index."""
    from localrouter.weights.bundle.reader import Bundle

    with _verdict(as_json), Bundle(file) as opened:
        signer = opened.signer(signers) if signers else None
        with watching(f"reading {file.name}", sum(member.size for member in opened.index.members)) as report:
            opened.check(report)
        if as_json:
            click.echo(json.dumps({"ok": True} | _facts(file, opened.index) | _signature(opened.signature, signer)))
            return
        talk(f"{file}: intact; {len(opened.index.members)} files, {', '.join(b.name for b in opened.index.builds)}")
        _tell_signature(opened.signature, signer)


@bundle.command("import", epilog=exit_statuses("all models are on this machine", _REJECTED))
@click.argument("file", type=FILE)
@click.option(
    "--wheels", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write the wheels to this folder."
)
@_signers
@offline_option
@json_option
def import_(file: Path, *, wheels: Path | None, signers: Path | None, offline: bool, as_json: bool) -> None:
    """Import the models of a bundle; files that are present already are not written again."""
    from localrouter.weights.bundle.import_target import Destination
    from localrouter.weights.bundle.importer import import_bundle
    from localrouter.weights.bundle.names import name_builds
    from localrouter.weights.bundle.reader import Bundle

    with _verdict(as_json), Bundle(file) as opened:
        signer = opened.signer(signers) if signers else None
        size = sum(each.size for each in opened.index.members) + sum(each.size for each in opened.index.presupposed)
        with watching(f"importing {file.name}", size) as report:
            done = import_bundle(opened, Destination.here(wheels), report)
        named = name_builds(done.targets)
        install = _install(wheels, opened.index.localrouter) if wheels and done.wheels else None
        if as_json:
            said = {"builds": done.outcomes, "written": done.written, "named": named, "papers": str(done.papers)}
            click.echo(json.dumps(said | {"install": install} | _signature(opened.signature, signer), indent=2))
            return
        for name, outcome in done.outcomes.items():
            talk(f"{name}: {outcome}")
        talk(f"manifest, lockfile and licences are in {done.papers}")
        _tell_signature(opened.signature, signer)
        if install:
            talk(f"install localrouter with: {install}")


def _contents(names: tuple[str, ...], manifest: Path | None, delta: Path | None) -> "BundleContents":
    from localrouter.weights.bundle.contents import choose, gather, pinned_digests
    from localrouter.weights.bundle.index import BundleError
    from localrouter.weights.manifest.lockfile import read_lock
    from localrouter.weights.registry import Registry

    if delta and not delta.is_file():
        raise BundleError(
            f"{delta}: there is no such lockfile", hint="name the lockfile of the machine that imports the bundle"
        )
    registry = Registry.read(manifest)
    chosen = choose(registry, names)
    for each in chosen:
        if each.reason:
            talk(f"{each.entry.alias}: {each.entry.build.name}, {each.reason}. For another: {each.entry.alias}:VARIANT")
    with watching("hashing", sum(each.unhashed for each in chosen)) as report:
        contents = gather(registry, chosen, report)
    return contents.leaving_out(pinned_digests(read_lock(delta))) if delta else contents


def _add_wheels(contents: "BundleContents", scratch: Path, *, offline: bool) -> "BundleContents":
    from localrouter.weights.bundle.index import BundleError
    from localrouter.weights.bundle.wheels import build_wheels, wheel_target

    if offline:
        raise BundleError("--with-wheels needs a package index, which --offline forbids", hint="pass one of them only")
    return contents.with_wheels(build_wheels(scratch, talk), wheel_target())


@contextmanager
def _verdict(as_json: bool) -> Iterator[None]:
    """Print why a bundle is rejected and exit with status 1."""
    from localrouter.weights.bundle.index import BundleRejected

    try:
        yield
    except BundleRejected as error:
        if as_json:
            click.echo(json.dumps({"ok": False, "error": error.message, "hint": error.hint}))
        else:
            talk(f"rejected: {error.message}", "bold red")
            talk(f"hint: {error.hint}" if error.hint else "hint: do not use this file")
        sys.exit(FAILED)


def _facts(file: Path, index: "BundleIndex") -> dict[str, Any]:
    return {
        "bundle": str(file),
        "size": file.stat().st_size,
        "localrouter": index.localrouter,
        "builds": [build.name for build in index.builds],
        "left_out": [each.name for each in index.presupposed],
        "wheels": index.wheels and index.wheels.model_dump(),
    }


def _signature(signature: bytes | None, signer: str | None) -> dict[str, Any]:
    return {"signed": signature is not None, "signer": signer}


def _tell_signature(signature: bytes | None, signer: str | None) -> None:
    if signer:
        talk(f"signed by {signer}")
    elif signature:
        talk("signed; --signers FILE verifies the signer")
    else:
        talk("not signed: the checksums prove integrity, not origin")


def _install(wheels: Path, version: str) -> str:
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(wheels)]
    return shlex.join([*command, f"localrouter=={version}"])
