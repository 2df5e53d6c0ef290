"""Whether a model fits into memory, in which type of numbers, and on which device."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from internals.errors import ModelError
from internals.models.weights import tensors

_SIZES = {"F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "BOOL": 1}
_ROOM = 0.9
"""Share of the free memory that weights may take."""


def best_device() -> str:
    """``cuda``, ``mps`` or ``cpu``, whichever is there first."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def stored_dtype(files: list[Path]) -> str:
    """Type of most of the stored numbers, in torch's words."""
    names = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64"}
    sizes: Counter[str] = Counter()
    for kind, n in (entry for file in files for entry in tensors(file)):
        sizes[kind] += n
    most = sizes.most_common(1)[0][0]
    return names.get(most, most)


def needed_bytes(files: list[Path], width: int | None = None) -> int:
    """Memory of the weights as stored, or with ``width`` bytes for each number."""
    return sum(n * (width or _SIZES.get(k, 1)) for file in files for k, n in tensors(file))


def free_bytes(device: str) -> int:
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    import psutil

    return int(psutil.virtual_memory().available)


def choose_dtype(name: str, files: list[Path], device: str) -> Any:
    """float32 on a CPU if it fits (16-bit arithmetic is slow and coarse there), else as stored."""
    import torch

    free = _ROOM * free_bytes("cpu" if device == "cuda" else device)
    if device == "cpu" and needed_bytes(files, 4) <= free:
        return torch.float32
    need = needed_bytes(files)
    if need > free:
        raise ModelError(
            f"{name} needs about {_size(need)} for its weights, but only {_size(free)} of "
            "memory can be used; choose a smaller model or close other programs."
        )
    return "auto"


def _size(n_bytes: float) -> str:
    """Bytes in the unit that people read: MiB below one GiB."""
    return f"{n_bytes / 2**30:.1f} GiB" if n_bytes >= 2**30 else f"{n_bytes / 2**20:.1f} MiB"


def device_map(files: list[Path], device: str) -> str | None:
    """Spread a model over devices only if it is larger than one of them."""
    if device != "cuda":
        return None
    return "auto" if needed_bytes(files) > _ROOM * free_bytes("cuda") else None
