"""What this machine has: its device, native precision, cores and memory."""

import contextlib
import ctypes
import functools
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path

KEPT_ARRAY_BYTES = (2**27, 2**25)  # a batch of RBT's widest embeddings is 84 MB in fp32; old glibc
# takes no more than the second
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 and Arm, as the kernel names them


def device(requested: str | None) -> str:
    """Return the requested device, else cuda where there is one, else cpu.

    ValueError for a device that is not there.
    """
    if requested is None and not Path("/dev/nvidiactl").exists():
        return "cpu"
    if requested is None or str(requested).startswith("cuda"):
        import torch  # a second's import that a CPU needs not

        if torch.cuda.is_available():
            return requested or "cuda"
        if requested is None:
            return "cpu"
        raise ValueError(f"device={requested}: torch finds no CUDA device here; set device=cpu")
    if requested != "cpu":
        raise ValueError(f"device must be cpu, cuda or cuda:N, got {requested!r}")
    return requested


def precision(requested: str | None, on: str) -> str:
    """Return the requested precision, else bf16 where it is native on a device, else fp32."""
    return requested or ("bf16" if has_native_bf16(on) else "fp32")


def require_native(precision: str, on: str) -> None:
    """Raise ValueError where the device would emulate this precision."""
    if precision == "bf16" and not has_native_bf16(on):
        raise ValueError(
            f"precision=bf16 must be native; {on} of {platform.node()} would emulate it, "
            "200 times slower: set precision=fp32"
        )


def has_native_bf16(on: str) -> bool:
    """Tell whether bf16 matrix products run in hardware on this device."""
    if on != "cpu":
        import torch

        return torch.cuda.is_bf16_supported(including_emulation=False)
    capped = os.environ.get("ONEDNN_MAX_CPU_ISA", "ALL")  # of oneDNN, which multiplies the matrices
    if not any(word in capped for word in ("ALL", "DEFAULT", "BF16", "FP16", "AMX", "AVX10")):
        return False
    info = Path("/proc/cpuinfo")
    return info.exists() and not BF16_FLAGS.isdisjoint(info.read_text().split())


def cores() -> int:
    """Return how many cores this process may use, by its affinity and its container's quota."""
    import joblib  # here: most commands do not ask, and would start later for it

    return joblib.cpu_count()


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Hold torch and BLAS to n threads, and let them have afterwards as many as before."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    try:
        with threadpool_limits(n):
            torch.set_num_threads(n)  # of its own MKL, too, which threadpoolctl does not see
            yield
    finally:
        torch.set_num_threads(before)


@functools.cache
def cpu() -> str:
    """Return the model of this machine's CPU, such as "AMD EPYC (AuthenticAMD 26/2)".

    Numbers on it depend on its instructions, which a marketing name alone does not tell.
    """
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    fields = dict(reversed(re.findall(r"^([^:\n]+?)\s*: (.*)$", text, re.MULTILINE)))
    if "model name" not in fields:
        return f"{platform.processor() or 'unknown'} ({platform.machine()})"
    family, model = fields.get("cpu family", "?"), fields.get("model", "?")
    return f"{fields['model name']} ({fields.get('vendor_id', '?')} {family}/{model})"


@functools.cache
def keep_freed_memory() -> bool:
    """Make glibc keep what is freed for what comes next, in this process; False where it cannot.

    By default it gives arrays of over 32 MB back at once, and the page faults of having them again
    at each step are 8 % of a fit of 40,000 pairs (benchmarks/README.md).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or not any(mallopt(M_MMAP_THRESHOLD, size) for size in KEPT_ARRAY_BYTES):
        return False
    return bool(mallopt(M_TRIM_THRESHOLD, 2**28))


def free_bytes(on: str) -> int:
    """Return how many bytes of a CUDA device this process could take, with torch's unused ones."""
    import torch

    device = torch.device(on)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + unused


@functools.cache
def gpu(on: str) -> str | None:
    """Return the model of a CUDA device, or None for the CPU."""
    if on == "cpu":
        return None
    import torch

    return torch.cuda.get_device_name(on)
