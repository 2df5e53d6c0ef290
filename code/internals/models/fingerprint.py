"""A hash of everything that makes a model answer as it does: weights, configuration, tokenizer.

Made from file contents, so that neither torch nor transformers is needed; remembered by size and
time of change, since hashing gigabytes takes a while.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from internals.paths import CACHE, write_whole

_COUNTED = (".safetensors", ".model")
_NAMED = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
_NAMED |= {"origin.json"}  # of a converted GGUF file: its facts belong to the folder
_NAMED |= {"special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt"}


def fingerprint(folder: Path) -> str:
    """16 hexadecimal digits over the names and contents of a model folder's files."""
    total = hashlib.sha256()
    known = _Known()
    for file in sorted(folder.iterdir()):
        if file.name in _NAMED or file.suffix in _COUNTED:
            total.update(f"{file.name}:{known.hash_of(file)}\n".encode())
    known.keep()
    return total.hexdigest()[:16]


def file_digest(path: Path) -> str:
    """SHA-256 of one file in hexadecimal digits, remembered as those of model files are."""
    known = _Known()
    digest = known.hash_of(path)
    known.keep()
    return digest


class _Known:
    """Hashes of files by path, size and time of change; a damaged store is forgotten."""

    def __init__(self) -> None:
        self.path = CACHE / "fingerprints.json"
        try:
            self.entries = dict(json.loads(self.path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            self.entries = {}
        self.changed = False

    def hash_of(self, file: Path) -> str:
        stat = file.stat()
        key = f"{file.resolve()}|{stat.st_size}|{stat.st_mtime_ns}"
        if key not in self.entries:
            with file.open("rb") as stream:
                self.entries[key] = hashlib.file_digest(stream, "sha256").hexdigest()
            self.changed = True
        return str(self.entries[key])

    def keep(self) -> None:
        if self.changed:
            write_whole(self.path, json.dumps(self.entries).encode())
