"""What a process that runs a model does with threads and memory."""

import ctypes
import resource
import subprocess
import sys

import pytest

TOUCH = """
import resource, sys, torch
from segshift import devices
if sys.argv[1] == "set up":
    devices.set_up({"cpu_threads": 3})
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):  # until holes between others have room for one and its alignment
    torch.ones(12 << 20)
before = faults()
for _ in range(10):
    torch.ones(12 << 20)
print(faults() - before, torch.get_num_threads())
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc lets memory be kept")
def test_a_process_that_is_set_up_has_its_threads_and_keeps_the_memory_of_its_tensors():
    """Ten tensors of 48 MB, one after the other, take no new page; without it all of them do."""

    def run(how):
        command = [sys.executable, "-c", TOUCH, how]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return map(int, done.stdout.split())

    tensor = (48 << 20) // resource.getpagesize()
    faults, threads = run("set up")
    assert faults < tensor and threads == 3
    faults, _ = run("as it is")
    assert faults > 9 * tensor
