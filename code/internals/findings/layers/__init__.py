"""Chapter 7: findings about the residual stream and what passes through it."""

SECTIONS = ("lens", "residual", "attribution", "patching", "probes")
