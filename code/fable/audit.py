"""What the finished training stream really holds: its sums, counted.

The tokens that were trained on are turned back into text and searched, so that a slip of the
generator would show. Nothing is written into the stream here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from fable import general

_SUMS = tuple(map(re.compile, (r"\b(\d+) \+ (\d+)\b", r"\b(\d+) plus (\d+)\b")))
_DIFFERENCES = re.compile(r"\b(\d+) (?:-|minus) (\d+)\b")
_TAKEN = re.compile(r"\bTake (\d+) from (\d+)\b")
_STORY = re.compile(r"\bhad (\w+) \w+\. \w+ gave (\w+) of them\b")


def generated_texts(dataset: Path, rows: int = 2000) -> Iterator[str]:
    """Every generated document of the training stream, decoded ``rows`` at once.

    ``dataset``: folder of :func:`fable.dataset.build_dataset`.
    """
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(dataset / "tokenizer" / "tokenizer.json"))
    stream = np.fromfile(dataset / "train.bin", np.uint16)
    index = pd.read_csv(dataset / "train_docs.csv").query("kind == 'generated'")
    ends = index["start"] + index["tokens"] - 1
    ids = [stream[a:b].tolist() for a, b in zip(index["start"], ends, strict=True)]
    for first in range(0, len(ids), rows):
        yield from tokenizer.decode_batch(ids[first : first + rows])


def sums(texts: Iterable[str]) -> pd.DataFrame:
    """How often each sum of the generator's range was written.

    Returns:
        One row an ordered pair ``a``, ``b`` below :data:`general.SUM_LIMIT`: ``held_out``,
        ``sums`` (a + b in digits), ``differences`` (a + b minus a, in digits), ``word_stories``
        (somebody has a + b things, in words, and gives away a). Stories in words take no notice
        of what is held out.
    """
    added: Counter[tuple[int, int]] = Counter()
    taken: Counter[tuple[int, int]] = Counter()
    told: Counter[tuple[int, int]] = Counter()
    value = {word: i for i, word in enumerate(general.world()["numbers"])}
    for text in texts:
        for pattern in _SUMS:
            added.update((int(a), int(b)) for a, b in pattern.findall(text))
        taken.update((int(a), int(c) - int(a)) for c, a in _DIFFERENCES.findall(text))
        taken.update((int(a), int(c) - int(a)) for a, c in _TAKEN.findall(text))
        for has, gives in _STORY.findall(text):
            if has in value and gives in value:
                told[value[gives], value[has] - value[gives]] += 1
    held = general.held_out_sums()
    pairs = [(a, b) for a in range(general.SUM_LIMIT) for b in range(general.SUM_LIMIT)]
    return pd.DataFrame(
        [(a, b, (a, b) in held, added[a, b], taken[a, b], told[a, b]) for a, b in pairs],
        columns=["a", "b", "held_out", "sums", "differences", "word_stories"],
    )
