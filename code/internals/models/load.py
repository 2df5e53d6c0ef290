"""Load a causal language model, whole and safe, once in a process.

Only safetensors, never code from a repository. Weights that do not fit the configuration are an
error: the library would fill the gaps with random numbers.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from internals import paths
from internals.errors import ModelError, first_line
from internals.models import checks, memory
from internals.models.facts import ModelFacts, read_facts
from internals.models.fingerprint import fingerprint
from internals.models.resolve import Source, resolve
from internals.models.weights import weight_files
from internals.run.kernels import share_cores
from internals.run.progress import append_line


@dataclass(frozen=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer and the facts about both."""

    model: Any
    tokenizer: Any
    facts: ModelFacts
    fingerprint: str
    spec: str
    device: str

    def random_twin(self, seed: int = 0) -> Any:
        """The same architecture with fresh random weights: a control for everything learned."""
        import torch
        from transformers import AutoModelForCausalLM

        state = torch.random.get_rng_state()
        torch.manual_seed(seed)
        try:
            twin = AutoModelForCausalLM.from_config(self.model.config, dtype=self.model.dtype)
            checks.take_settings_off(twin)
        finally:
            torch.random.set_rng_state(state)
        return twin.to(self.model.device).eval()


@dataclass(frozen=True)
class ModelHandle:
    """A model that is named and found but not loaded; cheap to make and to pass around."""

    source: Source
    fingerprint: str

    @property
    def spec(self) -> str:
        """What the user typed."""
        return self.source.spec

    @property
    def name(self) -> str:
        """Short name for titles."""
        return self.source.name

    @property
    def folder(self) -> Path:
        """Folder of the model's files."""
        return self.source.folder

    def loaded(self) -> LoadedModel:
        """The loaded model; loads at most once in a process."""
        if self.fingerprint not in _LOADED:
            _LOADED[self.fingerprint] = _load(self.source, self.fingerprint)
            _count(self.name)
        held = _LOADED[self.fingerprint]
        if held.spec == self.spec:
            return held
        # The same files under another name, which counts in this handle.
        return replace(held, spec=self.spec, facts=self._named(held.facts))

    @property
    def facts(self) -> ModelFacts:
        """Facts about the model; kept on disk, so that a warm report need not load it."""
        return self._named(_stored_facts(self))

    def _named(self, facts: ModelFacts) -> ModelFacts:
        return replace(facts, name=self.name, spec=self.spec, revision=self.source.revision)


_LOADED: dict[str, LoadedModel] = {}


def release(keep: str = "") -> None:
    """Let go of loaded models, but of that with the fingerprint ``keep``: the next needs room."""
    for mark in set(_LOADED) - {keep}:
        del _LOADED[mark]


def loads(build: Path | None = None) -> dict[str, int]:
    """How often a process of this build, or of that of the folder ``build``, loaded each model."""
    path = _record_path(build)
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    records = [json.loads(line) for line in lines]
    times = Counter((record["model"], record["pid"]) for record in records)
    return {model: max(n for (m, _), n in times.items() if m == model) for model, _ in times}


def _count(name: str) -> None:
    """Note a load in the records of the build to which this process belongs, if to any."""
    if os.environ.get("INTERNALS_BUILD"):
        path = _record_path()
        path.parent.mkdir(parents=True, exist_ok=True)
        append_line(path, {"model": name, "pid": os.getpid()})


def _record_path(build: Path | None = None) -> Path:
    return (build or paths.BUILD) / "loads.jsonl"


def open_model(spec: str) -> ModelHandle:
    """Find a model without loading it (see :func:`internals.models.resolve.resolve`)."""
    source = resolve(spec)
    return ModelHandle(source, fingerprint(source.folder))


def load(spec: str) -> LoadedModel:
    """Load a model by embedded name, Hub id (``org/name@revision``) or folder.

    Raises:
        ModelError: one of its kinds, each with one sentence.
    """
    return open_model(spec).loaded()


def _load(source: Source, mark: str) -> LoadedModel:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging

    share_cores()
    files = weight_files(source)
    stored = memory.stored_dtype(files)
    device = memory.best_device()
    dtype = memory.choose_dtype(source.name, files, device)
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False)
        model, report = AutoModelForCausalLM.from_pretrained(
            source.folder,
            config=config,
            dtype=dtype,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            device_map=memory.device_map(files, device),
        )
    except MemoryError as error:
        raise ModelError(
            f"The memory of this machine ran out while {source.name} was loaded; choose a smaller "
            "model or close other programs."
        ) from error
    except Exception as error:  # the library raises many kinds for a damaged file
        raise ModelError(
            f"{source.name} cannot be loaded ({first_line(error)}); its weights do not fit its "
            "config.json, or a file is damaged: get the model again."
        ) from error
    checks.refuse_gaps(source.name, report)
    checks.refuse_unfinite(source.name, model)
    shipped = checks.take_settings_off(model)
    checks.refuse_long_texts(model)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    if model.device.type != device and not hasattr(model, "hf_device_map"):
        model.to(device)
    tokenizer = _tokenizer(source)
    rows = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > rows:
        raise ModelError(
            f"The tokenizer of {source.name} has {len(tokenizer)} entries but the embedding only "
            f"{rows}; the folder mixes two models."
        )
    facts = read_facts(model, tokenizer, source, mark, stored, shipped)
    return LoadedModel(model, tokenizer, facts, mark, source.spec, device)


def _tokenizer(source: Source) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(source.folder, trust_remote_code=False)
    except Exception as error:  # tokenizers raise many kinds for a damaged file
        raise ModelError(
            f"The tokenizer of {source.name} cannot be read ({first_line(error)}); save it again "
            "with `tokenizer.save_pretrained(folder)`."
        ) from error


def _stored_facts(handle: ModelHandle) -> ModelFacts:
    """Facts from disk, or by loading; a damaged file is made again."""
    file = paths.CACHE / "facts" / f"{handle.fingerprint}.json"
    try:
        return ModelFacts(**json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError):  # also facts of another version
        facts = handle.loaded().facts
        paths.write_whole(file, json.dumps(asdict(facts)).encode())
        return facts


@contextmanager
def eager_attention(model: Any) -> Iterator[Any]:
    """Within this scope attention returns its weights; afterwards it is as it was.

    The faster kernels never form the weights and silently return none.
    """
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield model
    finally:
        model.set_attn_implementation(before)
