"""What a token is: an id, the bytes it stands for, and a way to show them.

Works on a Hugging Face tokenizer of any algorithm; runs no model and draws nothing.
Token text is untrusted: `visible` makes it readable, escaping for a format is the renderer's work.
A prompt is encoded by `prompt_ids`, never by the tokenizer alone.
"""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from internals.readable import SPACE, hex_bytes, visible  # noqa: F401


@dataclass(frozen=True)
class TokenizerFacts:
    """How a tokenizer works, read from its own description."""

    algorithm: str
    """``BPE``, ``Unigram``, ``WordPiece``, ``WordLevel`` or the class name of a slow tokenizer."""
    byte_level: bool
    """Whether its alphabet is the 256 bytes (Radford et al. 2019)."""
    byte_fallback: bool
    """Whether a character outside the vocabulary becomes its bytes, ``<0xE4>`` and so on."""
    prefix_space: bool
    """Whether a space is put before the first word."""


@dataclass(frozen=True)
class Piece:
    """One token of a text."""

    index: int
    id: int
    token: str
    """The vocabulary's own spelling, e.g. ``Ġthe``."""
    raw: bytes
    """The bytes it stands for; empty for special tokens."""
    start: int
    end: int
    """Characters ``start`` to ``end`` of the text (0-based, end excluded)."""
    pretoken: int | None
    """Number of the pre-token (word-like chunk) in which it lies; merges never cross chunks."""
    special: bool

    @property
    def shown(self) -> str:
        """Readable form: glyphs for blanks, hex for bytes that are no whole character."""
        return self.token if self.special else visible(self.raw)


def description(tokenizer: Any) -> dict[str, Any]:
    """The ``tokenizer.json`` of a fast tokenizer as a dict; empty for a slow one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    return json.loads(backend.to_str()) if backend is not None else {}


def tokenizer_facts(tokenizer: Any) -> TokenizerFacts:
    """Facts about ``tokenizer``, from its description where it has one."""
    spec = description(tokenizer)
    model = spec.get("model") or {}
    parts = _kinds(spec.get("pre_tokenizer"), "pretokenizers")
    parts += _kinds(spec.get("normalizer"), "normalizers")
    return TokenizerFacts(
        algorithm=model.get("type") or type(tokenizer).__name__,
        byte_level=any(part["type"] == "ByteLevel" for part in parts),
        byte_fallback=bool(model.get("byte_fallback")),
        prefix_space=_adds_prefix_space(tokenizer),
    )


def _kinds(node: dict[str, Any] | None, parts: str) -> list[dict[str, Any]]:
    """A component or the members of a ``Sequence`` of components."""
    if not node:
        return []
    return list(node[parts]) if node["type"] == "Sequence" else [node]


def _adds_prefix_space(tokenizer: Any) -> bool:
    """Measured: does ``a`` encode like `` a``?"""
    bare = tokenizer("a", add_special_tokens=False)["input_ids"]
    spaced = tokenizer(" a", add_special_tokens=False)["input_ids"]
    first = tokenizer.convert_ids_to_tokens(bare[:1])[0] if bare else ""
    return bare == spaced or first.startswith(("▁", "Ġ"))


def pieces(tokenizer: Any, text: str, *, split_special: bool = False) -> list[Piece]:
    """The tokens of ``text`` without added BOS or EOS.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        text: any string.
        split_special: treat text that spells a special token as plain text.
    """
    encoding = tokenizer(
        text, add_special_tokens=False, split_special_tokens=split_special
    ).encodings[0]
    special = _known(tokenizer).special
    # Each of these properties makes its whole list anew whenever it is read.
    columns = zip(encoding.ids, encoding.tokens, encoding.offsets, encoding.word_ids, strict=True)
    return [
        Piece(
            index=i,
            id=token_id,
            token=token,
            raw=token_bytes(tokenizer, token_id),
            start=start,
            end=end,
            pretoken=pretoken,
            special=token_id in special and not split_special,
        )
        for i, (token_id, token, (start, end), pretoken) in enumerate(columns)
    ]


def prompt_ids(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text that a model is to continue.

    What the tokenizer puts in front of a text (a start token) is there; what it puts behind one
    (``[SEP]``, an end token) is not, since the model would continue after that. Special tokens that
    stand in the text itself are kept.
    """
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return [*_known(tokenizer).before, *ids]


def start_ids(tokenizer: Any) -> list[int]:
    """The ids after which a document begins, to be put before ids without special tokens.

    What the tokenizer puts there itself; else ``<|endoftext|>``, which separates documents in the
    training text of many models (the end token of a chat model ends a turn); else the end token.
    """
    known = _known(tokenizer)
    if known.before:
        return list(known.before)
    separator = tokenizer.convert_tokens_to_ids(_SEPARATOR)
    named = separator in known.special and separator is not None
    if named and tokenizer.convert_ids_to_tokens(separator) == _SEPARATOR:
        return [separator]
    return [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]


_SEPARATOR = "<|endoftext|>"


def _put_before(tokenizer: Any) -> tuple[int, ...]:
    """Measured: the ids that the tokenizer puts before a text."""
    for text in ("a", "1", "the"):
        bare = tokenizer(text, add_special_tokens=False)["input_ids"]
        whole = tokenizer(text)["input_ids"]
        for i in range(len(whole) - len(bare) + 1):
            if bare and whole[i : i + len(bare)] == bare:
                return tuple(whole[:i])
    return ()


def word_ids(tokenizer: Any, word: str) -> list[int]:
    """Ids of a word as it stands within a sentence, with one space before it.

    Tokenizers that put a space before every text (Llama 2) would turn " word" into two spaces.
    """
    known = _known(tokenizer).words
    if word not in known:
        text = word if doubles_space(tokenizer) else " " + word
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True)
        known[word] = tuple(found["input_ids"])
    return list(known[word])


def doubles_space(tokenizer: Any) -> bool:
    """Whether a space typed before the first word comes on top of one that is added anyway."""
    return _known(tokenizer).facts.prefix_space and not _same_with_space(tokenizer)


def _same_with_space(tokenizer: Any) -> bool:
    bare, spaced = (tokenizer(t, add_special_tokens=False)["input_ids"] for t in ("a", " a"))
    return bool(bare == spaced)


_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@functools.cache
def byte_alphabet() -> dict[str, int]:
    """Character of a byte-level vocabulary to byte (Radford et al. 2019, released code).

    Printable bytes stand for themselves, the others for characters from U+0100 upward,
    so that no vocabulary entry holds a blank or a control character.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}


def token_bytes(tokenizer: Any, token_id: int) -> bytes:
    """The bytes for which an id stands; empty for special tokens.

    A token need not be whole characters: decoding it alone would show ``�`` and lose the bytes.
    """
    known = _known(tokenizer)
    if token_id not in known.raw:
        known.raw[token_id] = _bytes(tokenizer, token_id, known)
    return known.raw[token_id]


def _bytes(tokenizer: Any, token_id: int, known: _Known) -> bytes:
    facts = known.facts
    if token_id in known.special:
        return b""
    token = tokenizer.convert_ids_to_tokens(token_id)
    if token is None:  # embedding rows beyond the tokenizer
        return b""
    if facts.byte_level:
        alphabet = byte_alphabet()
        if all(c in alphabet for c in token):
            return bytes(alphabet[c] for c in token)
        return token.encode()  # an added token is stored as plain text
    if facts.byte_fallback and (byte := _BYTE.fullmatch(token)):
        return bytes([int(byte[1], 16)])
    if facts.algorithm == "WordPiece":
        return token.removeprefix("##").encode()
    return token.replace("▁", " ").encode()


@dataclass(frozen=True)
class _Known:
    """What is asked of a tokenizer again and again, and slow to find."""

    tokenizer: Any
    """Held, so that no other object can take its id."""
    facts: TokenizerFacts
    special: frozenset[int]
    before: tuple[int, ...]
    """Ids that are put before a text."""
    raw: dict[int, bytes] = field(default_factory=dict)
    words: dict[str, tuple[int, ...]] = field(default_factory=dict)


_KNOWN: dict[int, _Known] = {}


def _known(tokenizer: Any) -> _Known:
    held = _KNOWN.get(id(tokenizer))
    if held is None:
        facts, before = tokenizer_facts(tokenizer), _put_before(tokenizer)
        held = _KNOWN[id(tokenizer)] = _Known(tokenizer, facts, _special(tokenizer), before)
    return held


def _special(tokenizer: Any) -> frozenset[int]:
    """Special tokens with a role, and those that are only marked as special, but never bytes."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marked = {i for i, t in added.items() if t.special and not _BYTE.fullmatch(t.content)}
    return frozenset(tokenizer.all_special_ids) | marked


def display(tokenizer: Any, token_id: int) -> str:
    """How a token is shown: its bytes made visible, a special token by its name.

    Rows of the embedding that belong to no token are shown as ``⟨no token⟩``.
    """
    if token_id in _known(tokenizer).special:
        return str(tokenizer.convert_ids_to_tokens(token_id))
    return visible(token_bytes(tokenizer, token_id)) or "⟨no token⟩"
