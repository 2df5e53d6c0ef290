"""The tokenizer of a GGUF file, as its vocabulary, its merges and its flags say.

transformers builds it; added here is what it leaves out, with llama.cpp's `llama-vocab.cpp` as the
authority on what a name in the file means. What it does is measured afterwards on a text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from internals.errors import ModelError
from internals.models.gguf_file import GgufFile

_PLAIN = frozenset({"gpt-2", "phi-2", "mpt", "olmo", "jais", "exaone4", "mellum"})
"""Split as GPT-2 splits a text."""
_DIGITS = frozenset(
    {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}
)
"""Every digit by itself, then as GPT-2."""
_WHOLE = frozenset(
    {"llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"}
    | {"jina-v5-nano", "tekken"}
)
"""A piece of text that is an entry is taken whole; a start token is put first unless the file says
otherwise."""

_SAMPLE = [
    "The cat's 12 345 words, naïve 中文!\n\n  \tdef f(x):\r\n    return  x  ",
    " don't DON'T x=1.5e-3 … — “q” <|endoftext|> ٣४ é🙂 ",
]
"""Texts on which tokenizers that split differently give different ids."""


def read_tokenizer(file: GgufFile, path: Path) -> Any:
    """The tokenizer of the file at ``path`` (the same file, perhaps under another name).

    Raises:
        ModelError: text would be split in another way than the file asks for.
    """
    from transformers import PreTrainedTokenizerFast

    kind = file.metadata.get("tokenizer.ggml.model")
    if kind not in {"gpt2", "llama"}:
        raise ModelError(
            f"{file.path.name} has a tokenizer of the kind “{kind}”, which this report does not "
            "read from GGUF; give the folder of the original model."
        )
    pre = file.metadata.get("tokenizer.ggml.pre")
    if kind == "gpt2":
        _refuse_unknown_split(file, pre)
    starts = bool(
        file.metadata.get("tokenizer.ggml.add_bos_token", kind == "llama" or pre in _WHOLE)
    )
    tokenizer = PreTrainedTokenizerFast.from_pretrained(
        path.parent, gguf_file=path.name, add_bos_token=starts, clean_up_tokenization_spaces=False
    )
    if kind == "gpt2":
        _split(tokenizer, pre)
    elif _puts_blank(file, kind):
        _prepend(tokenizer)
    _refuse_other_behaviour(file, tokenizer, starts, kind)
    return tokenizer


def refuse_another(file: GgufFile, tokenizer: Any, folder: Path) -> None:
    """The tokenizer must be the same when it is read from the folder in which it was saved.

    For some architectures the library puts a class of its own in its place, whatever was saved.

    Raises:
        ModelError: it is another one.
    """
    from transformers import AutoTokenizer

    again = AutoTokenizer.from_pretrained(folder)
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    if (
        again.get_vocab() != tokenizer.get_vocab()
        or any(getattr(again, name) != getattr(tokenizer, name) for name in names)
        or again(_SAMPLE)["input_ids"] != tokenizer(_SAMPLE)["input_ids"]
    ):
        raise ModelError(
            f"transformers does not keep the tokenizer of {file.path.name} for this architecture; "
            "give the folder of the original model."
        )


def _refuse_unknown_split(file: GgufFile, pre: Any) -> None:
    """transformers takes GPT-2's way for every name that it does not know."""
    from transformers.integrations.gguf import gguf_tokenizer_mapping as library

    if pre is None or pre in _PLAIN | _DIGITS | set(library.GGUF_PRE_TOKENIZER_SPLITS):
        return
    raise ModelError(
        f"{file.path.name} splits text in the way “{pre}”, which transformers does not know and "
        "would replace by another; give the folder of the original model."
    )


def _split(tokenizer: Any, pre: Any) -> None:
    from tokenizers import pre_tokenizers

    backend = tokenizer.backend_tokenizer
    if pre in _DIGITS:
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [
                pre_tokenizers.Digits(individual_digits=True),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
            ]
        )
    if pre in _WHOLE:
        backend.model.ignore_merges = True


def _puts_blank(file: GgufFile, kind: Any) -> bool:
    """Whether a blank is put before a text and after a special token."""
    return bool(file.metadata.get("tokenizer.ggml.add_space_prefix", kind == "llama"))


def _prepend(tokenizer: Any) -> None:
    """Put the blank before a text that begins with one, too, as llama.cpp does."""
    from tokenizers import normalizers

    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.backend_tokenizer.pre_tokenizer = None


def _refuse_other_behaviour(file: GgufFile, tokenizer: Any, starts: bool, kind: str) -> None:
    """Start and end tokens and the blank in front, measured on a text against the file's flags."""
    ids = tokenizer("a")["input_ids"]
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    ends = bool(file.metadata.get("tokenizer.ggml.add_eos_token", False))
    bos, eos = ([i] if i is not None else [] for i in _ends(tokenizer))
    first = tokenizer.convert_ids_to_tokens(bare[0]) if bare else ""
    asked = [*(bos if starts else []), *bare, *(eos if ends else [])]
    if ids != asked or first.startswith(("▁", "Ġ")) != _puts_blank(file, kind):
        raise ModelError(
            f"The tokenizer that transformers makes of {file.path.name} puts other tokens around a "
            "text than the file asks for; give the folder of the original model."
        )


def _ends(tokenizer: Any) -> tuple[int | None, int | None]:
    return tokenizer.bos_token_id, tokenizer.eos_token_id
