"""Chapter 6: findings about attention."""

SECTIONS = ("kinds", "ablation", "sinks", "explanation", "emergence")
