"""What a GGUF file says of itself: architecture, settings, tokenizer, types of its tensors.

Read here with bounds, before any library meets the file: a damaged or hostile length ends in one
sentence. What the library would drop without a word is refused by `convert`.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from internals.errors import ModelError

MAGIC = b"GGUF"
_SCALARS = {
    **{0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"},
    **{10: "<Q", 11: "<q", 12: "<d"},
}
"""Formats of the numbers by the type number of the file format."""
_STRING, _ARRAY = 8, 9
_VERSIONS = (2, 3)
_ALIGNMENT = 32
"""Of the tensors, where the file names none."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of the file, not read."""

    name: str
    shape: tuple[int, ...]
    """Last axis last, as torch writes it."""
    kind: str
    """``F32``, ``Q4_1`` …"""

    @property
    def n_values(self) -> int:
        """Numbers that it stands for."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class GgufFile:
    """The head of a GGUF file."""

    path: Path
    metadata: dict[str, Any]
    """Arrays of text are left out, except for their length."""
    tensors: tuple[Tensor, ...]

    @property
    def architecture(self) -> str:
        """``llama``, ``gpt2`` … in the words of the file format."""
        return str(self.metadata.get("general.architecture", ""))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings of the architecture, without its name in front."""
        head = f"{self.architecture}."
        return {k.removeprefix(head): v for k, v in self.metadata.items() if k.startswith(head)}

    @property
    def original_name(self) -> str:
        """What the model was called by whoever made the file."""
        return str(self.metadata.get("general.name") or self.path.stem)

    @property
    def n_values(self) -> int:
        """Numbers in all tensors."""
        return sum(tensor.n_values for tensor in self.tensors)

    @property
    def quantisation(self) -> str:
        """Types of the tensors with their share of all numbers: ``Q4_1 (79 %), Q8_0 (21 %)``."""
        values: Counter[str] = Counter()
        for tensor in self.tensors:
            values[tensor.kind] += tensor.n_values
        return ", ".join(
            f"{kind} ({_share(n / max(self.n_values, 1))})" for kind, n in values.most_common()
        )


def _share(share: float) -> str:
    return f"{share:.0%}".replace("%", " %") if share >= 0.005 else "under 1 %"


def is_gguf(path: Path) -> bool:
    """Whether a file begins as one of this format does."""
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC


def read(path: Path) -> GgufFile:
    """The head of a file, with every length checked against its size.

    Raises:
        ModelError: the file is damaged or cut short.
        ModelError: an old version of the format, or a part of a model.
    """
    if path.stat().st_size < 24 or not is_gguf(path):
        raise ModelError(
            f"{path.name} does not begin as a GGUF file does; give a GGUF file or the folder of a "
            "model."
        )
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as raw:
        try:
            found = _Reader(raw).file(path)
        except (struct.error, ValueError, TypeError, ArithmeticError, KeyError) as error:
            raise ModelError(
                f"{path.name} is damaged, cut short or of a newer kind ({error}); get it again."
            ) from error
    _refuse_parts(found)
    return found


def _refuse_parts(file: GgufFile) -> None:
    """A file that is not a whole model by itself."""
    parts = file.metadata.get("split.count")
    if isinstance(parts, int) and parts > 1:
        raise ModelError(
            f"{file.path.name} is one of {parts} parts of a model; join them with "
            "`llama-gguf-split --merge` and give the result."
        )
    kind = str(file.metadata.get("general.type", "model"))
    if kind != "model":
        raise ModelError(
            f"{file.path.name} holds no model but what its maker calls “{kind}”; give the GGUF "
            "file of the model itself."
        )


class _Reader:
    """Walks through the head; every read is checked against the end of the file."""

    def __init__(self, raw: mmap.mmap) -> None:
        self.raw, self.at, self.end = raw, 0, len(raw)

    def file(self, path: Path) -> GgufFile:
        self._take(len(MAGIC))
        version = self._number("<I")
        if version not in _VERSIONS:
            raise ValueError(f"version {version} of the format")
        n_tensors, n_entries = self._number("<Q"), self._number("<Q")
        metadata = {}
        for _ in range(n_entries):
            key = self._text()
            metadata[key] = self._value(self._number("<I"))
        places = [self._tensor() for _ in range(n_tensors)]
        if not places:
            raise ValueError("no tensors in it")
        alignment = int(metadata.get("general.alignment", _ALIGNMENT))
        begin = math.ceil(self.at / alignment) * alignment
        if begin + max(offset + size for _, offset, size in places) > self.end:
            raise ValueError("tensors beyond its end")
        return GgufFile(path, metadata, tuple(tensor for tensor, _, _ in places))

    def _take(self, n: int) -> bytes:
        if n > self.end - self.at:
            raise ValueError("a length beyond its end")
        self.at += n
        return self.raw[self.at - n : self.at]

    def _number(self, form: str) -> Any:
        return struct.unpack(form, self._take(struct.calcsize(form)))[0]

    def _text(self) -> str:
        return self._take(self._number("<Q")).decode("utf-8", errors="replace")

    def _value(self, kind: int) -> Any:
        if kind in _SCALARS:
            return self._number(_SCALARS[kind])
        if kind == _STRING:
            return self._text()
        if kind != _ARRAY:
            raise ValueError(f"a setting of the unknown type {kind}")
        of, n = self._number("<I"), self._number("<Q")
        if of in _SCALARS:
            width = struct.calcsize(_SCALARS[of])
            content = self._take(n * width)
            return list(struct.unpack(f"<{n}{_SCALARS[of][1]}", content))
        if of != _STRING:
            raise ValueError(f"an array of the unknown type {of}")
        for _ in range(n):
            self._take(self._number("<Q"))
        return n

    def _tensor(self) -> tuple[Tensor, int, int]:
        """A tensor with the offset and the size of its bytes."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name = self._text()
        shape = tuple(self._number("<Q") for _ in range(self._number("<I")))[::-1]
        kind = GGMLQuantizationType(self._number("<I"))
        offset = self._number("<Q")
        block, width = GGML_QUANT_SIZES[kind]
        if not shape or shape[-1] % block:
            raise ValueError(f"tensor {name} with a broken shape")
        return Tensor(name, shape, kind.name), offset, math.prod(shape) // block * width
