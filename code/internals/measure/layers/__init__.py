"""Measurements of chapter 7: the residual stream, read, taken apart and patched, layer by layer."""
