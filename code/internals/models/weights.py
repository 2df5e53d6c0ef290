"""Weights on disk: the safetensors files of a folder, checked to be whole without reading them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

from internals.errors import ModelError

if TYPE_CHECKING:
    from internals.models.resolve import Source


def weight_files(source: Source) -> list[Path]:
    """The safetensors files of a model, each checked to be whole.

    Raises:
        ModelError: there are none, or one is damaged.
    """
    folder = source.folder
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = [folder / name for name in _shards(source, index)]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        why = "only pickled ones, which can run code when loaded" if pickled else "none at all"
        raise ModelError(
            f"{source.name} has no weights as safetensors ({why}); convert it with "
            "`model.save_pretrained(folder)` or choose another revision."
        )
    for file in files:
        tensors(file)
    return files


def _shards(source: Source, index: Path) -> list[str]:
    """Names of the files over which the weights are spread; never outside the folder."""
    try:
        names = {str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        names = {""}
    if any(Path(name).name != name or not name for name in names):
        raise ModelError(
            f"{index.name} of {source.name} is damaged; delete it and get the model again."
        )
    return sorted(names)


def tensors(file: Path) -> list[tuple[str, int]]:
    """Type (``F32``, ``BF16`` …) and number of values of every tensor in a safetensors file.

    Raises:
        ModelError: the file is missing, cut short or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not file.exists():
        raise ModelError(f"{file.name} is missing in {file.parent.name}; get the model again.")
    try:
        with safe_open(file, "np") as content:
            slices = [content.get_slice(name) for name in content.keys()]  # noqa: SIM118
            found = [(s.get_dtype(), math.prod(s.get_shape())) for s in slices]
    except (SafetensorError, OSError):
        found = []
    if not found:
        raise ModelError(
            f"{file.name} in {file.parent.name} is damaged or cut short; delete it and get it "
            "again."
        )
    return found
