"""Inputs for a real English model: each file holds what its chapter and its statistics need."""

from __future__ import annotations

import pandas as pd

from internals.paths import DATA


def test_ratings_of_related_words_are_whole():
    table = pd.read_csv(DATA / "words" / "wordsim353.tsv", sep="\t", keep_default_na=False)
    assert table.columns.tolist() == ["word1", "word2", "rating"]
    assert len(table) == 353
    assert table["rating"].between(0, 10).all()
    assert table[["word1", "word2"]].map(str.isalpha).all(axis=None)
    assert pd.unique(table[["word1", "word2"]].to_numpy().ravel()).size == 437
