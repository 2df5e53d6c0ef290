"""Text from a model: sampling rules, generation with and without a cache, GPT-2 in NumPy."""
