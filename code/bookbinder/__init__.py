"""Render a Quarto book without Quarto: Jupyter, Pandoc and Typst; knows nothing of models."""
