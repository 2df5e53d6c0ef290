"""From what a user types to a folder with files: embedded name, local folder or Hub id.

Downloads only what is safe and needed (safetensors, tokenizer, configuration); loads nothing.
"""

from __future__ import annotations

import errno
import json
import re
from dataclasses import dataclass
from pathlib import Path

from internals.models.failures import (
    GatedModelError,
    IncompleteModelError,
    UnknownModelError,
    UnreachableModelError,
    UnsupportedModelError,
)
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
    spec = spec.strip()
    if not spec:
        raise UnknownModelError("No model was named; give an embedded name, a Hub id or a folder.")
    if spec in embedded_names():
        source = Source(spec, spec, MODELS / spec, None)
    elif _is_path(spec):
        source = Source(spec, Path(spec).expanduser().resolve().name, _folder(spec), None)
    elif _HUB_ID.fullmatch(spec):
        source = _from_hub(spec)
    else:
        raise UnknownModelError(
            f"“{spec}” is neither a folder nor a Hub id such as gpt2 or org/name; the embedded "
            f"models are {', '.join(embedded_names()) or 'not there'}."
        )
    _check_files(source)
    return source


def tokenizer_file(spec: str) -> Path:
    """The ``tokenizer.json`` of an embedded model, a folder or a Hub id; weights are not fetched.

    Raises:
        ModelError: as :func:`resolve`; also for a tokenizer in an old format.
    """
    if spec in embedded_names():
        folder = MODELS / spec
    elif _is_path(spec):
        folder = _folder(spec)
    else:
        folder = _from_hub(spec, [p for p in WANTED if "safetensors" not in p]).folder
    file = folder / "tokenizer.json"
    if not file.exists():
        raise IncompleteModelError(
            f"“{spec}” has no tokenizer.json, which a comparison needs; save it again with "
            "`AutoTokenizer.from_pretrained(…).save_pretrained(folder)`."
        )
    return file


def _is_path(spec: str) -> bool:
    """Whether a spec means a folder: it exists, or it is written like a path."""
    return Path(spec).expanduser().exists() or spec.startswith((".", "/", "~", "\\"))


def _folder(spec: str) -> Path:
    folder = Path(spec).expanduser().resolve()
    if not folder.is_dir():
        raise UnknownModelError(f"There is no folder {spec}; check the path.")
    return folder


def _from_hub(spec: str, wanted: list[str] = WANTED) -> Source:
    """A snapshot of a Hub repository; downloads resume where they were broken off."""
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    repo, _, revision = spec.partition("@")
    try:
        folder = Path(snapshot_download(repo, revision=revision or None, allow_patterns=wanted))
    except hub.GatedRepoError:
        raise GatedModelError(
            f"{repo} is gated: accept its terms on its page at huggingface.co, then log in with "
            "`hf auth login`."
        ) from None
    except hub.RevisionNotFoundError:
        raise UnknownModelError(
            f"{repo} has no revision “{revision}”; leave out @{revision} or give a branch, tag or "
            "commit."
        ) from None
    except hub.RepositoryNotFoundError:
        raise UnknownModelError(
            f"The Hugging Face Hub has no model “{repo}” that you may see; check the spelling "
            f"(embedded models: {', '.join(embedded_names())})."
        ) from None
    except hub.HFValidationError as error:
        raise UnknownModelError(f"“{spec}” is no valid Hub id: {_first_line(error)}.") from None
    except Exception as error:  # the client and what it builds on fail in many ways
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise UnreachableModelError(
                f"“{spec}” does not fit on this disk; free some space or set HF_HOME to another "
                "one. What is there already will not be fetched again."
            ) from None
        if isinstance(error, hub.HfHubHTTPError):
            raise UnreachableModelError(
                f"The Hugging Face Hub refused “{spec}” ({_first_line(error)}); try again later."
            ) from None
        raise UnreachableModelError(
            f"“{spec}” is not on this machine and the Hugging Face Hub cannot be reached; connect "
            "to the network, or give a local folder or an embedded model "
            f"({', '.join(embedded_names())})."
        ) from None
    return Source(spec, repo.split("/")[-1], folder, folder.name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _check_files(source: Source) -> None:
    """Configuration, tokenizer and safe weights are there and whole."""
    folder = source.folder
    config = read_config(source)
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise IncompleteModelError(
            f"{source.name} has no tokenizer files in its folder; save one there with "
            "`tokenizer.save_pretrained(folder)`."
        )
    _check_kind(source.name, config)
    weight_files(source)


def read_config(source: Source) -> dict[str, object]:
    """The ``config.json`` of a model."""
    file = source.folder / "config.json"
    if not file.exists():
        raise IncompleteModelError(
            f"{source.folder} has no config.json, so it is no model folder; give the folder that "
            "`save_pretrained` wrote."
        )
    try:
        config = json.loads(file.read_text("utf-8"))
    except ValueError:
        raise IncompleteModelError(
            f"The config.json of {source.name} is no valid JSON; get the model again."
        ) from None
    if not isinstance(config, dict) or "model_type" not in config:
        raise IncompleteModelError(
            f"The config.json of {source.name} names no model_type; get the model again."
        )
    return config


def _check_kind(name: str, config: dict[str, object]) -> None:
    """Only causal language models of families that the report can explain."""
    from internals.models.families import ENCODERS, FAMILIES

    kind = str(config["model_type"])
    heads = " ".join(map(str, config.get("architectures") or []))  # type: ignore[call-overload]
    if config.get("is_encoder_decoder"):
        raise UnsupportedModelError(
            f"{name} is a sequence-to-sequence model ({kind}); the report needs a causal language "
            "model such as gpt2."
        )
    if kind in ENCODERS or "ForMaskedLM" in heads:
        raise UnsupportedModelError(
            f"{name} is an encoder ({kind}), which does not predict the next token; the report "
            "needs a causal language model such as gpt2."
        )
    if kind not in FAMILIES and "auto_map" in config:
        raise UnsupportedModelError(
            f"{name} needs program code from its repository, which is never run; choose a model "
            "whose architecture is part of transformers."
        )
    if kind not in FAMILIES:
        raise UnsupportedModelError(
            f"{name} is of the type “{kind}”, which this report does not know; known are "
            f"{', '.join(sorted(FAMILIES))}."
        )


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
