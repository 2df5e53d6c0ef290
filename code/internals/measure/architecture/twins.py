"""The paired training runs that ship with the project, and what they ended with.

The curves come from `fable.twins`; they are the project's own experiment and do not
depend on the model of the run.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from internals.paths import DATA


def norm_curves() -> pd.DataFrame:
    """Curves of the norm twins; columns as in `fable.twins.train_norm_twins`."""
    return pd.read_csv(DATA / "twins" / "norms.csv")


def norm_ends(curves: pd.DataFrame) -> pd.DataFrame:
    """Held-out loss at the end: ``variant``, ``learning_rate``, ``training``, ``evaluation``.

    Means over seeds, in bits per token.
    """
    last = curves[curves["step"] == curves["step"].max()]
    wide = last.pivot_table(
        index=["learning_rate", "variant"], columns="mode", values="bits_per_token", sort=False
    )
    table = wide.reset_index()[["learning_rate", "variant", "training", "evaluation"]]
    table.columns.name = None
    return table


def against_layer_norm(curves: pd.DataFrame, variant: str, mode: str) -> dict[str, Any]:
    """Final loss of a variant minus that of layer norm, pair by pair (same rate, same seed).

    Returns ``mean``, ``low`` and ``high`` (range over the pairs; bits per token), ``n`` (pairs),
    ``all_worse`` and ``all_better``.
    """
    last = curves[(curves["step"] == curves["step"].max()) & (curves["mode"] == mode)]
    wide = last.pivot(
        index=["learning_rate", "seed"], columns="variant", values="bits_per_token"
    ).dropna()
    gap = wide[variant] - wide["LayerNorm"]
    return {
        "mean": float(gap.mean()),
        "low": float(gap.min()),
        "high": float(gap.max()),
        "n": len(gap),
        "all_worse": bool((gap > 0).all()),
        "all_better": bool((gap < 0).all()),
    }


def mode_gap(curves: pd.DataFrame, variant: str) -> dict[str, Any]:
    """Difference between the modes at the end over ``n`` runs, in bits per token: ``mean`` and
    ``least`` of its absolute value, ``low`` and ``high`` of training less evaluation."""
    last = curves[(curves["step"] == curves["step"].max()) & (curves["variant"] == variant)]
    wide = last.pivot(index=["learning_rate", "seed"], columns="mode", values="bits_per_token")
    signed = wide["training"] - wide["evaluation"]
    gap = signed.abs()
    return {
        "mean": float(gap.mean()),
        "least": float(gap.min()),
        "low": float(signed.min()),
        "high": float(signed.max()),
        "n": len(gap),
    }


def seed_spread(curves: pd.DataFrame) -> float:
    """Largest difference between seeds of one variant, rate and mode at the end, in bits."""
    last = curves[curves["step"] == curves["step"].max()]
    groups = last.groupby(["variant", "learning_rate", "mode"])["bits_per_token"]
    return float((groups.max() - groups.min()).max())


def head_curves() -> pd.DataFrame:
    """Curves of the head twins; columns as in `fable.twins.train_head_twins`."""
    return pd.read_csv(DATA / "twins" / "heads.csv")


def head_ends(curves: pd.DataFrame) -> pd.DataFrame:
    """The head twins at their end, means over seeds: ``learning_rate``, ``variant``,
    ``bits_per_token``, ``accuracy``, ``zero_share``."""
    last = curves[curves["step"] == curves["step"].max()]
    columns = ["bits_per_token", "accuracy", "zero_share"]
    return last.groupby(["learning_rate", "variant"], sort=False)[columns].mean().reset_index()


def against_softmax(curves: pd.DataFrame, variant: str) -> dict[str, Any]:
    """A head against softmax, pair by pair (same rate, same seed).

    Returns ``mean`` (difference of the final loss, bits per token), ``low`` and ``high`` (its range
    over the pairs), ``n`` (pairs), ``all_worse``, ``accuracy_low`` and ``accuracy_high`` (range of
    the difference of accuracies), ``zero_low`` and ``zero_high`` (range of the share of true tokens
    at zero), ``best_rate`` (learning rate with the smallest loss) and ``rates`` (all tried).
    """
    last = curves[curves["step"] == curves["step"].max()]
    wide = last.pivot(index=["learning_rate", "seed"], columns="variant")
    gap = wide["bits_per_token"][variant] - wide["bits_per_token"]["softmax"]
    accuracy = wide["accuracy"][variant] - wide["accuracy"]["softmax"]
    zeros = wide["zero_share"][variant]
    by_rate = wide["bits_per_token"][variant].groupby("learning_rate").mean()
    return {
        "mean": float(gap.mean()),
        "n": len(gap),
        "all_worse": bool((gap > 0).all()),
        "low": float(gap.min()),
        "high": float(gap.max()),
        "accuracy_low": float(accuracy.min()),
        "accuracy_high": float(accuracy.max()),
        "best_rate": float(by_rate.idxmin()),
        "rates": sorted(float(rate) for rate in last["learning_rate"].unique()),
        "zero_low": float(zeros.min()),
        "zero_high": float(zeros.max()),
    }
