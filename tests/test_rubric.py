"""The rubric map: every question of the assignment has a row, and every row leads somewhere."""

from __future__ import annotations

import re

import pytest

from internals.paths import ROOT

QUESTIONS = (
    "What are the key components and their dimensions?",
    "How does this compare to the hidden dimension?",
    "Why do transformer models use layer normalization instead of batch normalization?",
    "display the architecture summary",
    "show the tokenization breakdown",
    "How does the tokenizer handle out-of-vocabulary words, numbers, and special characters?",
    'Why might "The" and "the" tokenize differently? Test this hypothesis.',
    "What happens when you tokenize the same word in different contexts?",
    "handles the same text vs. a different tokenizer",
    "examine the model's logits and probability distributions",
    "most probable next tokens with their probabilities",
    "What would happen with other normalization methods?",
    "How does temperature affect the probability distribution?",
    "the actual correctness of predictions?",
    "change with different prompts and temperature settings",
    "time text generation with and without key-value caching",
    "What is being cached and why?",
    "How does the computational complexity of attention scale with sequence length?",
    "What are the memory trade-offs between caching and recomputation?",
    "nucleus (top-p) sampling on the same prompt",
    "affect output diversity and quality",
    "How does it handle uncertainty?",
    "How might unusual tokenization affect model performance?",
    "sophisticated pattern matching?",
    "relate to human understanding of language?",
    "implications of the model's next-token prediction objective",
)
"""A part of each question of sections 1 to 5, as the assignment words it."""
RUBRIC = (ROOT / "report" / "rubric.qmd").read_text("utf-8")
SUBMISSION = (
    "Jupyter Notebook",
    "Clear visualizations of probability distributions and tokenization analysis",
    "Thoughtful written responses to all critical thinking questions",
    "Evidence-based arguments supported by experimental results",
    "Written Analysis",
    "Python libraries `transformers`, `torch`, `matplotlib`, `numpy`, and `pandas`",
    "Attention Visualization",
    "Layer-wise Analysis",
    "Cross-model Comparison",
)
"""What a submission must hold, and the optional extensions."""


def rows_of(table: str) -> list[str]:
    """The rows of the table that ends with the label ``table``, without its head."""
    before = RUBRIC.split("{#" + table + "}")[0].rpartition("| --- | --- |\n")[2]
    return [line for line in before.splitlines() if line.startswith("| ")]


ROWS = rows_of("tbl-rubric")


@pytest.mark.parametrize("question", QUESTIONS)
def test_every_question_has_a_row(question):
    assert sum(question in row for row in ROWS) == 1


def test_every_row_leads_to_a_section_of_a_chapter():
    chapters = "".join(p.read_text("utf-8") for p in (ROOT / "report").glob("0*.qmd"))
    for row in ROWS:
        targets = re.findall(r"@(sec-[a-z-]+)", row)
        assert targets, row
        for target in targets:
            assert f"{{#{target}}}" in chapters, target


@pytest.mark.parametrize("asked", SUBMISSION)
def test_every_requirement_of_a_submission_has_a_row(asked):
    assert sum(asked in row for row in rows_of("tbl-submission")) == 1


def test_the_rows_of_a_submission_lead_to_labels_of_the_book():
    pages = [ROOT / "index.qmd", *(ROOT / "report").glob("*.qmd")]
    book = "".join(p.read_text("utf-8") for p in pages)
    for row in rows_of("tbl-submission"):
        targets = re.findall(r"@((?:sec|tbl)-[a-z-]+)", row)
        assert targets, row
        for target in targets:
            assert f"#{target}}}" in book, target


def test_the_chapters_ask_the_questions_where_the_map_says():
    """Each chapter that answers questions prints them in italics, so that a marker finds them."""
    for number in range(2, 6):
        (chapter,) = (ROOT / "report").glob(f"0{number}-*.qmd")
        asked = re.findall(r"^\*[A-Z][^*]+[?.]\*$", chapter.read_text("utf-8"), re.M)
        assert len(asked) >= 4, chapter.name
