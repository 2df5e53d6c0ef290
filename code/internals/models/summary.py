"""The facts about a loaded model and its tokenizer as one table that a reader understands."""

from __future__ import annotations

import pandas as pd

from internals.models.facts import ModelFacts


def summary(facts: ModelFacts) -> pd.DataFrame:
    """Columns: ``fact``, ``value``, ``read_from`` (where the fact was found, not what is claimed).

    Facts that a model does not have (a window, a revision, a licence) are left out.
    """
    f = facts
    rows = [
        ("family", f"{f.family} ({f.model_type})", "configuration"),
        ("layers", f"{f.n_layers:,}", "modules"),
        ("attention heads", _heads(f), "configuration"),
        (
            "width of stream, head, MLP",
            f"{f.d_model:,}, {f.d_head:,}, {f.d_mlp:,}",
            "configuration",
        ),
        ("context", f"{f.context_length:,} tokens", "configuration"),
        (
            "window of some layers",
            f.sliding_window and f"{f.sliding_window:,} tokens",
            "configuration",
        ),
        ("positions", f.position_scheme, "modules"),
        ("norm", f"{f.norm_kind}, {f.norm_placement}", "behaviour of the module"),
        ("MLP", f"{f.mlp_kind}, {f.activation}", "configuration"),
        ("tokenizer", f"{f.vocab_size_tokenizer:,} entries", "tokenizer"),
        ("embedding", f"{f.vocab_size_embedding:,} rows", "tensor"),
        ("embedding and head", "one tensor" if f.tied_embeddings else "two tensors", "storage"),
        ("token for the start of a text", f.bos_behaviour, "an encoded text"),
        ("parameters", f"{f.n_parameters:,}", "tensors"),
        ("type stored, type in memory", f"{f.stored_dtype}, {f.dtype}", "file, tensors"),
        ("size in memory", f"{f.weight_bytes / 2**20:,.1f} MiB on {f.device}", "tensors"),
        ("quantised as", f.quantisation, "GGUF file"),
        ("name in the file", f.original_name, "GGUF file"),
        ("settings for generate, taken off", f.shipped_settings, "generation_config.json"),
        ("licence", f.licence, "model card"),
        ("revision", f.revision, "Hub"),
        ("fingerprint", f.fingerprint, "hash of the files"),
    ]
    kept = [(fact, str(value), source) for fact, value, source in rows if value]
    return pd.DataFrame(kept, columns=["fact", "value", "read_from"])


def _heads(facts: ModelFacts) -> str:
    if not facts.grouped_query:
        return f"{facts.n_heads:,}"
    return f"{facts.n_heads:,} for queries, {facts.n_kv_heads:,} for keys and values"
