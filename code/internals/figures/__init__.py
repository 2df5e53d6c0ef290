"""Figures: tables in, matplotlib figures out; nothing here runs a model."""
