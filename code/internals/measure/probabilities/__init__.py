"""Chapter 3: from logits to probabilities, and what the probabilities are worth."""
