"""Chapter 8: findings about several models, and the questions that all of them are asked."""

SECTIONS = ("side_by_side", "ladder")
