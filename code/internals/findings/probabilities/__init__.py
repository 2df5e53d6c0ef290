"""Chapter 3: findings about distributions over the next token."""

SECTIONS = ("one_prompt", "softmax", "temperature", "confidence", "pictures")
