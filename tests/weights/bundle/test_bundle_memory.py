"""Memory stays flat, whatever is carried."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_PEAK = """
import sys
from pathlib import Path
from bundle_maker import bring, check, destination, make_sender
from localrouter.weights.bundle.exporter import write_bundle, ingredient, BundleContents
from localrouter.weights.bundle.index import BundledBuild, BundledFile, PieceKind
def peak():  # getrusage would count what the process that started this one has used
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
folder, size = Path(sys.argv[1]), int(sys.argv[2])
with (folder / "large.gguf").open("wb") as file:
    file.truncate(size)
before = peak()
made = ingredient("weights/large.gguf", PieceKind.WEIGHT, folder / "large.gguf")
file = BundledFile(name="large.gguf", size=size, sha256=made.member.sha256)
build = BundledBuild(name="Large", alias="large", source="path", files=(file,))
write_bundle(folder / "large.tar", BundleContents((build,), (made,)))
check(folder / "large.tar")
bring(folder / "large.tar", destination(folder / "receiver"))
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is asked of Linux")
def test_memory_stays_flat_however_large_a_file_is(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", _PEAK, tmp_path, str(96 << 20)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) * 1024 < 32 << 20
