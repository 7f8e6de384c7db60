"""What a model was made with: packages, machine, memory. For run.json, which says what made a model."""

import importlib.metadata
import os
import platform
import resource
import socket
from pathlib import Path
from typing import Any

import torch

# All that numbers go through; one that is not installed is not listed.
PACKAGES = (
    *("segshift", "torch", "torchvision", "timm", "monai", "peft", "pytorch-lightning"),
    *("numpy", "scipy", "h5py", "simpleitk", "nibabel"),
)


def versions() -> dict[str, str]:
    """Versions of Python, the packages and, where there is one, CUDA."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found | ({"cuda": torch.version.cuda} if torch.version.cuda else {})


def machine(device: torch.device) -> dict[str, Any]:
    """Host, the processor or GPU that computed, CPU threads, and the scheduler's job where there is one."""
    on_gpu = device.type == "cuda"
    found = {
        "host": socket.gethostname(),
        "hardware": torch.cuda.get_device_name(device) if on_gpu else _processor(),
        "cpu_threads": torch.get_num_threads(),
    }
    job = os.environ.get("SLURM_JOB_ID")
    return found | ({"job": job} if job else {})


def peak_memory(device: torch.device) -> dict[str, int]:
    """Largest memory in bytes: of this process, and on the GPU where it computed."""
    found = {"peak_memory": _resident()}
    if device.type == "cuda":
        found["peak_device_memory"] = torch.cuda.max_memory_allocated(device)
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _resident() -> int:
    """Not ``ru_maxrss`` where it can be avoided: a process inherits that of the one that started it."""
    try:
        status = Path("/proc/self/status").read_text().split()
        return int(status[status.index("VmHWM:") + 1]) * 1024
    except (OSError, ValueError):
        unit = 1 if platform.system() == "Darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
