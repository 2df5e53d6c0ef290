"""Render a Quarto book without Quarto: one kernel, Pandoc and Typst; knows nothing of models."""
