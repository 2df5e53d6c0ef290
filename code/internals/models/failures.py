"""What can go wrong between a model's name and a loaded model, one sentence each."""

from __future__ import annotations

from internals.errors import UserError


class ModelError(UserError):
    """A model cannot be used."""


class UnknownModelError(ModelError):
    """No embedded model, folder or Hub id of this name."""


class UnreachableModelError(ModelError):
    """The Hub cannot be reached and the model is not on this machine."""


class GatedModelError(ModelError):
    """The model's owner asks for an agreement first."""


class IncompleteModelError(ModelError):
    """A file that a model needs is missing, damaged, or does not fit the others."""


class UnsupportedModelError(ModelError):
    """A model of a kind that the report does not analyse."""


class MemoryNeededError(ModelError):
    """The model does not fit into the memory that is free."""


class FetchError(ModelError):
    """A model that the project takes from the Python package index cannot be had."""


class StorageError(ModelError):
    """The folder for fetched and converted models is full or cannot be written."""
