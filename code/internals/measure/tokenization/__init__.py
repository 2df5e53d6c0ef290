"""Measurements of chapter 2: what the tokenizer does to text, and what that does to the model."""
