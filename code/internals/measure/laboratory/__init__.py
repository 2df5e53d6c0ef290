"""Sentences that students write about language models and that are wrong, each with a test.

A refutation measures what the wrong sentence predicts. It refutes only where the measurement lies
outside the prediction, so on a model for which the sentence happens to be true it says so.
"""
