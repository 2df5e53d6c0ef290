"""Weights on disk: the safetensors files of a folder, checked to be whole without reading them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from internals.models.failures import IncompleteModelError

if TYPE_CHECKING:
    from internals.models.resolve import Source


def weight_files(source: Source) -> list[Path]:
    """The safetensors files of a model, each checked to be whole."""
    folder = source.folder
    index = folder / "model.safetensors.index.json"
    if index.exists():
        files = [folder / name for name in _shards(source, index)]
    else:
        files = sorted(folder.glob("*.safetensors"))
    if not files:
        pickled = [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.pth")]
        why = "only pickled ones, which can run code when loaded" if pickled else "none at all"
        raise IncompleteModelError(
            f"{source.name} has no weights as safetensors ({why}); convert it with "
            "`model.save_pretrained(folder)` or choose another revision."
        )
    for file in files:
        header(file)
    return files


def _shards(source: Source, index: Path) -> list[str]:
    """Names of the files over which the weights are spread; never outside the folder."""
    try:
        names = {str(name) for name in json.loads(index.read_text("utf-8"))["weight_map"].values()}
    except (ValueError, KeyError, TypeError, AttributeError):
        names = {""}
    if any(Path(name).name != name or not name for name in names):
        raise IncompleteModelError(
            f"{index.name} of {source.name} is damaged; delete it and get the model again."
        )
    return sorted(names)


def header(file: Path) -> dict[str, dict[str, object]]:
    """Names, types and places of the tensors in a safetensors file, without reading them.

    Raises:
        IncompleteModelError: if the file is missing, cut short or no safetensors file.
    """
    damaged = IncompleteModelError(
        f"{file.name} in {file.parent.name} is damaged or cut short; delete it and get it again."
    )
    if not file.exists():
        raise IncompleteModelError(
            f"{file.name} is missing in {file.parent.name}; get the model again."
        )
    size = file.stat().st_size
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= size - 8:
            raise damaged
        try:
            content = dict(json.loads(stream.read(length)))
            content.pop("__metadata__", None)
            end = max((int(entry["data_offsets"][1]) for entry in content.values()), default=0)
        except (ValueError, TypeError, KeyError, IndexError):
            raise damaged from None
    if not content or 8 + length + end != size:
        raise damaged
    return content
