"""The two embedded models: their configurations, and the whole way from a corpus to a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fable.trainer import Progress, Recipe, even, log_spaced, train
from internals.errors import UserError

CONTEXT = 512
NAMES = ("fable-gpt2", "fable-llama")
TARGET_TOKENS = 13_800_000
"""Rough size that is asked of the data set; the stream comes out a little longer."""
ROUNDS = (
    Recipe(),
    Recipe(seed=1, muon_lr=0.015, adam_lr=0.002, decay_share=0.9, last_share=0.3),
    Recipe(seed=2, muon_lr=0.012, adam_lr=0.0015, decay_share=0.9, last_share=0.3),
)
"""One pass over the stream each, in another order; a round starts from the weights that the round
before it stored, with a new warm-up and a lower peak."""


def new_model(name: str, vocab_size: int, *, d_model: int = 256, n_layers: int = 4) -> Any:
    """A model with fresh weights: GPT-2's architecture, or Llama's with grouped-query attention."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    if name == "fable-gpt2":
        return GPT2LMHeadModel(
            GPT2Config(
                vocab_size=vocab_size,
                n_positions=CONTEXT,
                n_embd=d_model,
                n_layer=n_layers,
                n_head=d_model // 32,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
                # The function of `gelu_new`, computed at once: a tenth of a pass on a CPU.
                activation_function="gelu_pytorch_tanh",
                **ends,
            )
        )
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocab_size,
            hidden_size=d_model,
            intermediate_size=d_model * 11 // 4,
            num_hidden_layers=n_layers,
            num_attention_heads=d_model // 32,
            num_key_value_heads=max(d_model // 128, 1),
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            **ends,
        )
    )


def train_one(
    name: str,
    dataset: Path,
    run: Path,
    rounds: tuple[Recipe, ...] = ROUNDS,
    *,
    threads: int | None = None,
    compiled: bool = False,
    report: Callable[[Progress], None] | None = None,
    **sizes: int,
) -> Any:
    """Train one model on a data set; checkpoint and snapshots of a round lie in ``run/round-N``."""
    import torch
    from transformers import AutoTokenizer

    if threads:
        torch.set_num_threads(threads)
    stream = np.fromfile(dataset / "train.bin", np.uint16)
    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    model = new_model(name, len(tokenizer), **sizes)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    for number, recipe in enumerate(rounds, start=1):
        folder = run / f"round-{number}"
        if number > 1:
            _load_last(model, run / f"round-{number - 1}")
        train(
            model,
            stream,
            folder,
            recipe,
            snapshot=_keep(folder),
            marks=log_spaced if number == 1 else even,
            report=report,
            compiled=compiled,
        )
    return model.eval()


def _keep(run: Path) -> Callable[[Any, int, int], None]:
    """Save the weights of a moment in 16 bits, for the probes."""

    def keep(model: Any, step: int, tokens: int) -> None:
        folder = run / "snapshots" / f"{step:06d}-{tokens}"
        save_half(model, folder)

    return keep


def _load_last(model: Any, run: Path) -> None:
    """Put the last stored weights of a round into the model.

    They are in 16 bits: so a round can also start from a folder that was shipped.
    """
    from transformers import AutoModelForCausalLM

    last = max(p for p in (run / "snapshots").iterdir() if p.suffix != ".new")
    model.load_state_dict(AutoModelForCausalLM.from_pretrained(last).state_dict())


def save_half(model: Any, folder: Path) -> None:
    """Write config and weights in bfloat16; the model itself stays as it is.

    A weight that two modules share is written once: the tied head is the embedding.
    """
    import torch

    new = folder.with_name(folder.name + ".new")
    shutil.rmtree(new, ignore_errors=True)
    state = {name: p.detach().to(torch.bfloat16) for name, p in model.named_parameters()}
    state |= {name: b for name, b in model.named_buffers() if name in model.state_dict()}
    model.save_pretrained(new, state_dict=state)
    shutil.rmtree(folder, ignore_errors=True)
    new.rename(folder)


def train_models(which: str, *, corpus: Path | None, work: Path, seed: int = 0) -> None:
    """From a corpus to both model folders: data set, training, probes, export.

    Args:
        which: one of :data:`NAMES`, or ``both``.
        corpus: folder of free text; without it only generated text is used.
        work: folder for data set and checkpoints; a stopped run goes on from there.

    Raises:
        UserError: for an unknown name or an incomplete corpus.
    """
    names = NAMES if which == "both" else (which,)
    if unknown := set(names) - set(NAMES):
        raise UserError(f"There is no recipe for {unknown.pop()}; known are {', '.join(NAMES)}.")
    dataset = _dataset(corpus, work, seed)
    for name in names:
        finish(name, dataset, work / name)


def train_twins(*, corpus: Path | None, work: Path, seed: int = 0) -> None:
    """Train the paired runs of norms and heads and write `data/twins/`; about an hour."""
    from fable.twins import write_twins
    from internals.paths import DATA

    write_twins(
        _dataset(corpus, work, seed), DATA / "twins", report=lambda line: print(line, flush=True)
    )


def train_ladder(*, corpus: Path | None, work: Path, seed: int = 0) -> None:
    """Train the ladder of sizes and write `data/ladder/`; about three hours."""
    from fable import ladder
    from internals.paths import DATA

    ladder.train_ladder(_dataset(corpus, work, seed), work / "ladder", DATA / "ladder")


def _dataset(corpus: Path | None, work: Path, seed: int) -> Path:
    """The data set in ``work``, built at the first need."""
    from fable.dataset import build_dataset

    dataset = work / "dataset"
    if not (dataset / "meta.json").exists():
        build_dataset(corpus, dataset, seed=seed, target_tokens=TARGET_TOKENS)
    return dataset


def finish(name: str, dataset: Path, run: Path) -> Path:
    """Train (or go on with) one model, probe its snapshots and export it."""
    import time

    from fable.export import export, export_tables
    from fable.probes import training_log
    from internals.run.provenance import cpu_name

    began = time.monotonic()
    print(f"Training {name}.", flush=True)
    model = train_one(name, dataset, run, compiled=shutil.which("c++") is not None, report=_told)
    hours = _spent(run, time.monotonic() - began)
    log = training_log(run, dataset)
    cost = {"tokens": int(log["tokens"].iloc[-1]), "hours": hours, "machine": cpu_name()}
    folder = export(model, name, dataset, log, cost)
    export_tables(dataset)
    return folder


def _spent(run: Path, seconds: float) -> float:
    """Hours of training so far, over all calls."""
    file = run / "hours.txt"
    before = float(file.read_text()) if file.exists() else 0.0
    hours = before + seconds / 3600
    file.write_text(f"{hours:.4f}")
    return hours


def _told(p: Progress) -> None:
    """A line every fifty steps."""
    if p.step % 50 == 0:
        speed = f"{p.tokens_per_second:,.0f} tokens/s"
        print(f"step {p.step} of {p.steps}, loss {p.loss_nats:.2f} nats, {speed}", flush=True)


SMOKE = Recipe(batch_tokens=1024, window=64, last_window=128)


def train_smoke(work: Path) -> dict[str, Any]:
    """The whole path on a tiny scale: data set, a stop and a resumption, probes, saved folder.

    Returns the losses of the first and the last step and the folder of the saved model.
    """
    from transformers import AutoTokenizer

    from fable.dataset import build_dataset

    dataset, run = work / "dataset", work / "run" / "round-1"
    shutil.rmtree(work, ignore_errors=True)
    build_dataset(None, dataset, target_tokens=60_000, vocab_size=600, scale=0.02)
    losses: list[float] = []
    stream = np.fromfile(dataset / "train.bin", np.uint16)[:70_000]
    tokenizer = AutoTokenizer.from_pretrained(dataset / "tokenizer")
    sizes = {"d_model": 32, "n_layers": 2}
    for stop_after in (20, None):  # the second call goes on from the checkpoint of the first
        model = new_model("fable-gpt2", len(tokenizer), **sizes)
        train(
            model,
            stream,
            run,
            SMOKE,
            snapshot=_keep(run),
            report=lambda p: losses.append(p.loss_nats),
            stop_after=stop_after,
        )
    folder = work / "model"
    save_half(model, folder)
    tokenizer.save_pretrained(folder)
    return {
        "first_loss": losses[0],
        "last_loss": losses[-1],
        "steps": len(losses),
        "folder": folder,
    }
