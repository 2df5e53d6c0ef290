"""Chapter 2: findings about what the tokenizer does to text."""

SECTIONS = ("samples", "coverage", "case", "contexts", "comparison")
