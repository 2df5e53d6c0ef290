"""The key of a measurement: content only, never names of files or times.

Source of the function's module and of all that it imports, parameters, model fingerprint, content
of input files, versions of torch and transformers; for timings also the machine.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from internals import paths
from internals.cache.modules import version_of
from internals.errors import UserError
from internals.run import provenance

LIBRARIES = ("torch", "transformers")


class InputFileError(UserError):
    """A file that a measurement reads is not there."""


def digest(parts: Mapping[str, Any]) -> str:
    """32 hexadecimal digits for a canonical record."""
    text = json.dumps(parts, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def canonical(value: Any) -> Any:
    """``value`` as plain JSON, equal for equal content; raises TypeError for what has no content.

    Paths count as the content of the file or folder, models as their fingerprint, functions as
    their source, tables and arrays as their hash.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return {"float": value.hex()}
    if isinstance(value, Path):
        return {"file": file_digest(value)}
    if isinstance(getattr(value, "fingerprint", None), str):
        return {"model": value.fingerprint}
    if isinstance(value, list | tuple):
        return [canonical(item) for item in value]
    if isinstance(value, Mapping):
        pairs = [[canonical(key), canonical(item)] for key, item in value.items()]
        return {"map": sorted(pairs, key=lambda pair: json.dumps(pair, sort_keys=True))}
    if isinstance(value, np.ndarray | pd.DataFrame | pd.Series | pd.Index):
        return {"data": digest({"data": _data(value)})}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: canonical(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"dataclass": type(value).__qualname__, "fields": fields}
    if callable(value):
        return {"source": version_of(value).digest}
    raise TypeError(
        f"a measurement cannot take a {type(value).__qualname__}: its content cannot be told; "
        "pass plain values, tables, paths or dataclasses"
    )


def _data(value: Any) -> Any:
    """Content of tables and arrays.

    Not by pickling them: equal strings that are one object here and two there pickle differently,
    so a table read back from disk would not equal the one that was written.
    """
    if isinstance(value, pd.DataFrame):
        columns = [_data(value.iloc[:, number]) for number in range(value.shape[1])]
        return [_data(value.columns), _data(value.index), columns]
    if isinstance(value, pd.MultiIndex):
        return ["index", canonical(list(value.names)), canonical(value.tolist())]
    if isinstance(value, pd.Series | pd.Index):
        return [canonical(value.name), str(value.dtype), _data(value.to_numpy())]
    if value.dtype.hasobject:
        return canonical(value.tolist())
    content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
    return [str(value.dtype), list(value.shape), content]


def file_digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_dir():
        inner = hashlib.sha256()
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            inner.update(f"{file.relative_to(path).as_posix()}\0{file_digest(file)}\n".encode())
        return inner.hexdigest()
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputFileError(
            f"The input file {path} cannot be read ({error.strerror}); put it back and try again."
        ) from error


def files_digest(files: Iterable[str | Path], root: Path) -> list[str]:
    """Digests of the declared input files, relative ones from the project root; ``data/`` is where
    the data are, also without a checkout."""
    return [file_digest(_place(Path(file), root)) for file in files]


def _place(file: Path, root: Path) -> Path:
    inside = file.parts[:1] == ("data",) and root == paths.ROOT
    return paths.DATA.joinpath(*file.parts[1:]) if inside else root / file


@functools.cache
def library_versions() -> dict[str, str]:
    """``major.minor`` of the libraries that can change a result; they are not imported."""
    return {name: _major_minor(name) for name in LIBRARIES}


def _major_minor(name: str) -> str:
    try:
        return ".".join(importlib.metadata.version(name).split(".")[:2])
    except importlib.metadata.PackageNotFoundError:
        return "absent"


@functools.cache
def machine_id() -> str:
    """What a timing depends on: processor, cores, thread settings, accelerators; no torch."""
    threads = os.environ.get("MKL_NUM_THREADS", "")
    parts = [provenance.machine_id(), threads, *provenance.accelerators()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def key_parts(
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    *,
    files: Iterable[str | Path] = (),
    timing: bool = False,
    root: Path,
) -> dict[str, Any]:
    """Everything the result depends on."""
    return {
        "source": version_of(function).digest,
        "arguments": {name: canonical(value) for name, value in arguments.items()},
        "files": files_digest(files, root),
        "libraries": library_versions(),
        "machine": machine_id() if timing else None,
        # A draft must never be taken for the full measurement.
        "effort": os.environ.get("REPORT_EFFORT", "").strip() or "1",
    }
