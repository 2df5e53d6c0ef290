"""Chapter 3: findings about distributions over the next token."""

SECTIONS = ("temperature",)
