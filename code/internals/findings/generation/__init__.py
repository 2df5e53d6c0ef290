"""Chapter 4: findings about generating text, what it costs and how the tokens are chosen."""

SECTIONS = ("cache", "cached", "scaling", "memory", "sampling", "quality")
