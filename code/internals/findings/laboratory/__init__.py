"""Laboratory: sentences that stand in many reports, put to the model."""

SECTIONS = ("tokens", "probabilities", "architecture", "layers", "generation", "statistics")
