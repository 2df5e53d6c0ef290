"""Measurements of chapter 8: the same questions to several models."""
