"""Training data, tokenizer and trainer of the embedded models."""
