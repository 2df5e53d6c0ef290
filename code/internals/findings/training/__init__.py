"""Appendix on training: what the embedded models learnt from data that is known."""

SECTIONS = ("what_was_learnt",)
