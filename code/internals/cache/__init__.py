"""Measurements that remember: `@measurement` on a function stores its results by content.

A result is found again as long as source, parameters, model and input files are the same; then
neither torch nor transformers is imported. Deleting the cache costs time, never a result.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

import pandas as pd

from internals import paths
from internals.cache import keys, storage
from internals.cache.modules import version_of
from internals.cache.storage import trim
from internals.errors import NotApplicable
from internals.run import progress

__all__ = [
    "Measurement",
    "measurement",
    "recorded",
    "trim",
]

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Refusal:
    """Stored in the place of a result that a model does not have."""

    reason: str


def _given(value: R) -> R:
    """``value``; a stored refusal is raised again."""
    if isinstance(value, Refusal):
        raise NotApplicable(value.reason)
    return value


class Measurement(Generic[P, R]):
    """A function whose results are stored; made by `measurement`."""

    def __init__(
        self,
        function: Callable[P, R],
        files: tuple[str | Path, ...],
        timing: bool,
    ) -> None:
        functools.update_wrapper(self, function)
        self.uncached = function
        """The bare function: computes always, stores never."""
        self.name = f"{function.__module__}.{function.__qualname__}".replace("<locals>.", "")
        self._files = files
        self._timing = timing
        self._signature = inspect.signature(function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        arguments = self._bind(args, kwargs)
        key = self._key(arguments)
        value = storage.load(self.name, key)
        if value is not storage.MISSING:
            _record(self.name, _model_name(arguments), cached=True)
            return _given(value)
        # Times first: who holds them and waits for an entry waits for no one who wants them.
        turn = storage.alone() if self._timing else nullcontext()
        with turn, storage.lock(self.name, key):
            value = storage.load(self.name, key)  # another build may have been faster
            if value is storage.MISSING:
                return self._compute(key, arguments, args, kwargs)
        _record(self.name, _model_name(arguments), cached=True)
        return _given(value)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The key under which the result of this call is stored."""
        return self._key(self._bind(args, kwargs))

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = self._signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return dict(bound.arguments)

    def _key(self, arguments: dict[str, Any]) -> str:
        options: dict[str, Any] = {"files": self._files, "timing": self._timing}
        return keys.digest(keys.key_parts(self.uncached, arguments, **options, root=paths.ROOT))

    def _compute(self, key: str, arguments: dict[str, Any], args: Any, kwargs: Any) -> R:
        model = _model_name(arguments)
        label = self._label(model)
        shown = progress.task(label) if label else nullcontext()
        with shown, _peak_memory() as peak:
            began = time.perf_counter()
            value: Any
            try:
                value = self.uncached(*args, **kwargs)
            except NotApplicable as why:  # also a result: it need not be tried again
                value = Refusal(str(why))
            seconds = time.perf_counter() - began
        _give_memory_back()
        _refuse_tensors(self.name, value)
        cost = {"seconds": round(seconds, 4), "peak_mib": round(peak[0], 1)}
        if not version_of(self.uncached).edited:
            storage.save(self.name, key, value)
        _record(self.name, model, cached=False, **cost)
        return cast(R, _given(value))

    def _label(self, model: str) -> str:
        said = (self.__doc__ or self.name.rpartition(".")[2]).strip()
        if "{value}" in said:  # a finding, whose measurements tell their own times
            return ""
        summary = said.splitlines()[0].rstrip(".")
        if len(summary) > 60:
            summary = summary[:59].rstrip() + "…"
        return f"{summary} ({model})" if model else summary


@overload
def measurement(function: Callable[P, R], /) -> Measurement[P, R]: ...


@overload
def measurement(
    *,
    files: Iterable[str | Path] = (),
    timing: bool = False,
) -> Callable[[Callable[P, R]], Measurement[P, R]]: ...


def measurement(
    function: Callable[..., Any] | None = None,
    /,
    *,
    files: Iterable[str | Path] = (),
    timing: bool = False,
) -> Any:
    """Store the results of a measurement ``f(model, **parameters)`` by content.

    The key is made of: the module of ``f`` and all modules of this project that it imports,
    directly or not (see `internals.cache.modules`); the parameters (paths count as their content,
    models as their fingerprint); ``files`` that it reads, from the project root; versions of torch
    and transformers; with ``timing`` also the machine.

    Results are tables, frozen dataclasses, arrays, plain values or dicts of them; no tensors.
    """

    def decorate(bare: Callable[..., Any]) -> Measurement[Any, Any]:
        return Measurement(bare, tuple(files), timing)

    return decorate if function is None else decorate(function)


def recorded(build: Path | None = None) -> pd.DataFrame:
    """What this build has measured or found: measurement, model, seconds, peak_mib, cached, at.

    ``build``: the folder of another build than this process belongs to.
    """
    rows = []
    path = _record_path(build)
    if path.is_file():
        for line in path.read_text("utf-8").splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                continue  # the last line of a build that was killed
    columns = ["measurement", "model", "cached", "seconds", "peak_mib", "at"]
    return pd.DataFrame(rows, columns=columns)


def _record_path(build: Path | None = None) -> Path:
    return (build or paths.BUILD) / "measurements.jsonl"


def _record(name: str, model: str, *, cached: bool, **cost: float) -> None:
    path = _record_path()
    row = {"measurement": name, "model": model, "cached": cached, **cost}
    with suppress(OSError):  # a full disk
        path.parent.mkdir(parents=True, exist_ok=True)
        progress.append_line(path, {**row, "at": round(time.time(), 2)})


@contextmanager
def _peak_memory(every_s: float = 0.05) -> Iterator[list[float]]:
    """Largest resident memory (MiB) while the block runs, sampled; the list's only item."""
    import threading

    import psutil

    process = psutil.Process()
    peak = [process.memory_info().rss / 2**20]
    stop = threading.Event()

    def sample() -> None:
        while not stop.wait(every_s):
            peak[0] = max(peak[0], process.memory_info().rss / 2**20)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()
        peak[0] = max(peak[0], process.memory_info().rss / 2**20)


def _give_memory_back() -> None:
    """Return freed memory to the system; the C library of Linux would keep hundreds of MB."""
    with suppress(AttributeError, OSError, TypeError):  # another library
        ctypes.CDLL(None).malloc_trim(0)


def _model_name(arguments: dict[str, Any]) -> str:
    for value in arguments.values():
        if isinstance(getattr(value, "fingerprint", None), str):
            return str(getattr(value, "name", getattr(value, "spec", "")))
    return ""


def _refuse_tensors(name: str, value: Any) -> None:
    """A stored tensor would make a cached chapter import torch."""
    inner = value.values() if isinstance(value, dict) else getattr(value, "__dict__", {}).values()
    for part in (value, *inner):
        if type(part).__module__.partition(".")[0] in {"torch", "transformers"}:
            raise TypeError(
                f"{name} returned a {type(part).__name__}; convert it to NumPy, pandas or plain "
                "values, so that a stored result can be read without torch"
            )
