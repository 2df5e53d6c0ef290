"""Measurements: (model, inputs, parameters, seed) to tidy tables; nothing here draws."""
