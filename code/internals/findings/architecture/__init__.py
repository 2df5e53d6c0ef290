"""Chapter 1: findings about parameters, the head as a bottleneck, and norms."""

SECTIONS = ("ledger", "bottleneck", "norms")
