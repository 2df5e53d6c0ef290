"""Further experiments: findings that no question of the assignment asks for."""

SECTIONS = ("further",)
