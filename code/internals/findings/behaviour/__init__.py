"""Chapter 5, behaviour: one module a section."""

SECTIONS = ("tricks", "artefacts", "understanding", "representations", "objective")
