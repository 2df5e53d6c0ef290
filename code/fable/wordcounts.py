"""How often words occur in the story corpus: the table `data/words/counts.csv`.

Made once from a corpus folder and shipped, since the corpus itself is not. The table holds the
commonest words and, for rarer ones, a fixed number drawn from each power of ten.

    python -m fable.wordcounts CORPUS
"""

from __future__ import annotations

import lzma
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd

from internals.errors import UserError
from internals.paths import DATA

WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
COMMONEST = 4000
PER_BAND = 800


def count_words(corpus: Path) -> Counter[str]:
    """Occurrences of each word, lower-cased, in ``stories.txt.xz``.

    Raises:
        UserError: if the corpus folder has no such file.
    """
    file = corpus / "stories.txt.xz"
    if not file.exists():
        raise UserError(f"{corpus} has no stories.txt.xz; give the folder of the story corpus.")
    counts: Counter[str] = Counter()
    with lzma.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            counts.update(word.lower() for word in WORD.findall(line))
    return counts


def thin(counts: Counter[str], seed: int = 0) -> pd.DataFrame:
    """The commonest words and a sample of each power of ten below them, commonest first.

    Columns: ``word``, ``count``.
    """
    rng = np.random.default_rng(seed)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    kept, rest = ranked[:COMMONEST], ranked[COMMONEST:]
    for band in sorted({len(str(n)) for _, n in rest}):
        members = [item for item in rest if len(str(item[1])) == band]
        chosen = rng.permutation(len(members))[:PER_BAND]
        kept += [members[i] for i in sorted(chosen)]
    kept.sort(key=lambda item: (-item[1], item[0]))
    return pd.DataFrame(kept, columns=["word", "count"])


if __name__ == "__main__":
    thin(count_words(Path(sys.argv[1]))).to_csv(DATA / "words" / "counts.csv", index=False)
