"""A machine without a network: the embedded model answers where no interface but loopback exists."""

import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]
IN_A_NAMESPACE = """
import ctypes, fcntl, socket, struct, sys

CLONE_NEWNET, CLONE_NEWUSER = 0x40000000, 0x10000000
libc = ctypes.CDLL(None)
if libc.unshare(CLONE_NEWNET) and libc.unshare(CLONE_NEWNET | CLONE_NEWUSER):
    sys.exit(77)
with socket.socket() as lo:  # loopback is there, and down
    up = struct.pack("16sh14x", b"lo", 1)
    fcntl.ioctl(lo, 0x8914, up)
with socket.socket() as out:
    assert out.connect_ex(("192.0.2.1", 80)), "this namespace has a way out"

sys.path.insert(0, sys.argv[1])
from running_server import serving

with serving("--offline", "--threads", "1") as server:
    answer = server.client().chat.completions.create(
        model="demo", temperature=0, messages=[{"role": "user", "content": "What is the capital of Italy?"}]
    )
    print(answer.choices[0].message.content)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's")
def test_the_embedded_model_answers_without_any_network() -> None:
    run = subprocess.run(
        [sys.executable, "-c", IN_A_NAMESPACE, str(TESTS)], capture_output=True, text=True, check=False
    )
    if run.returncode == 77:
        pytest.skip("this user may not make a network namespace")

    assert run.stdout == "The capital of Italy is Rome.\n", run.stderr
