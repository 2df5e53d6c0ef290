"""Measurements of chapter 6: what attention looks at, and whether it matters."""
