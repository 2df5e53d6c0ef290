"""The laboratory: every refutation has a control in which its wrong sentence is true, and there it
must not refute; the page tells all three verdicts."""

from __future__ import annotations

import copy
import inspect
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
import transformers as tf
from tokenizers.processors import TemplateProcessing

from internals.evidence import mistakes
from internals.evidence.claims import make_claim
from internals.generation.generate import GREEDY
from internals.measure.architecture import norm_outputs, normalisation
from internals.measure.generation import choices, equality, memory, operations, samples
from internals.measure.laboratory import findings as whole
from internals.measure.laboratory import generation
from internals.measure.laboratory import tokens as token_tests
from internals.measure.laboratory.lab import Attribution, Lab, Run
from internals.measure.laboratory.record import (
    REGISTER,
    Finding,
    does_not_apply,
    estimated,
    exact,
    more_than,
    refutation,
)
from internals.measure.probabilities import (
    answers_by_exposure,
    one_prompt,
    positions,
    surprisal,
    temperature,
)
from internals.measure.tokenization import casing, coverage, measured, numbers
from internals.models import families, open_model
from internals.stats import wilson
from tiny_models import CONFIGS, FAMILIES
from tokenizers_small import byte_fallback_bpe, byte_level_bpe, word_level, wordpiece


@pytest.fixture(scope="module")
def lab_of(tiny_folder):
    """``lab_of("llama", tokenizer=…)``: a lab on a fresh copy of a tiny random model."""

    def make(name="gpt2", *, model=None, facts=None, tokenizer=None, given=(), **parts):
        loaded = open_model(str(tiny_folder(name))).loaded()
        values = {k: parts.pop(k) for k in list(parts) if k in CACHED}
        lab = Lab(
            copy.deepcopy(loaded.model) if model is None else model,
            loaded.tokenizer if tokenizer is None else tokenizer,
            replace(loaded.facts, **(facts or {})),
            given={m.name: result for m, result in given},
            **parts,
        )
        lab.__dict__.update(values)
        return lab

    return make


FEW = ["the cat sat on the mat", "The capital of Japan is Tokyo.", "2 + 3", "naïve"]
CACHED = ("prompts", "prompt_logits", "run", "attributions")


class Rule:
    """A tokenizer that is one function from text to ids."""

    def __init__(self, encode):
        self.encode = encode

    def __call__(self, text, **_):
        return {"input_ids": self.encode(text)}


def with_start_token():
    tokenizer = copy.deepcopy(byte_level_bpe())
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
    )
    return tokenizer


def with_tags():
    tokenizer = copy.deepcopy(byte_level_bpe())
    tokenizer.add_tokens(list(token_tests.TAGS), special_tokens=True)
    return tokenizer


def one_hot(n=6, vocab=50):
    return torch.nn.functional.one_hot(torch.arange(n), vocab).double() * 100


def even(n=6, vocab=50):
    return torch.zeros(n, vocab, dtype=torch.float64)


# --- controls: a lab in which the sentence is true ----------------------------------------------


def blank_is_lost(lab_of):
    """A word-level tokenizer drops the blank, so it can move nothing."""
    lab = lab_of(tokenizer=word_level())
    moved = one_prompt.blank_effect.uncached(SimpleNamespace(loaded=lambda: lab))
    return lab_of(given=[(one_prompt.blank_effect, moved)])


def case_is_lost(lab_of):
    table = casing.case_table(wordpiece(), ["cat", "dog", "mat", "sat", "the", "under"])
    return lab_of(given=[(measured.case_forms, table)])


HELD: list = []
"""Context managers whose hooks must stay until the test is over."""


def batch_norm(lab_of):
    """Batch statistics in place of the model's own norms, as in chapter 1."""
    lab = lab_of()
    known = normalisation.moments(lab.model, lab.windows)
    HELD.append(normalisation.exchanged(lab.model, "batch", known))
    HELD[-1].__enter__()
    return lab


def sines(lab_of):
    lab = lab_of()
    table = families.position_embedding(lab.model).weight
    n, d = table.shape
    angle = torch.arange(n)[:, None] / 10_000 ** (torch.arange(0, d, 2) / d)
    table.data = torch.stack([angle.sin(), angle.cos()], -1).reshape(n, d)
    return lab


def positions_added(lab_of):
    lab = lab_of("llama")
    families.embedding(lab.model).register_forward_hook(
        lambda _m, _a, out: out + torch.arange(out.shape[1])[None, :, None]
    )
    return lab


def last_position_only(lab_of):
    lab = lab_of()
    inner = lab.model

    class Last:
        device = inner.device

        def __call__(self, ids, **options):
            return SimpleNamespace(logits=inner(ids, **options).logits[:, -1:])

    return replace(lab, model=Last())


def fixed_width_of_heads(lab_of):
    config = CONFIGS["qwen3"]()
    config.head_dim = 16
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    n = sum(p.numel() for p in model.parameters())
    return lab_of("qwen3", model=model, facts={"n_parameters": n})


def gpt2_of(lab_of, **widths):
    config = CONFIGS["gpt2"]()
    config.update(widths)
    return lab_of(model=tf.AutoModelForCausalLM.from_config(config).eval())


def eager(lab_of):
    lab = lab_of()
    lab.model.set_attn_implementation("eager")
    return lab


def without_last_norm(lab_of):
    """A library that returned the stream as it enters the final norm."""
    lab = lab_of()
    seen = []
    norm = families.final_norm(lab.model)
    handle = norm.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    run = lab.run
    handle.remove()
    lab.__dict__["run"] = Run(run.logits, [*run.states[:-1], seen[-1].float()], run.attentions)
    return lab


def run_with(lab_of, states=None, attentions=None):
    lab = lab_of()
    run = lab.run
    states = run.states if states is None else states(run.states)
    attentions = run.attentions if attentions is None else attentions(run.attentions)
    return lab_of(run=Run(run.logits, states, attentions))


def noise(states, width=None):
    generator = torch.Generator().manual_seed(0)
    shape = (*states[0].shape[:2], width or states[0].shape[2])
    return [torch.randn(shape, generator=generator) for _ in states]


def uniform(attentions):
    seq = attentions[0].shape[-1]
    even = torch.ones(seq, seq).tril() / torch.arange(1, seq + 1)[:, None]
    return [even.expand_as(a) for a in attentions]


def one_token(attentions):
    return [torch.eye(a.shape[-1]).expand_as(a) for a in attentions]


def no_context(lab_of):
    """Without positions and with attention that adds nothing, a state depends on its token only."""
    lab = lab_of()
    families.position_embedding(lab.model).weight.data.zero_()
    for block in families.blocks(lab.model):
        output = families.attention(lab.model, block).c_proj
        output.weight.data.zero_()
        output.bias.data.zero_()
    return lab


def attributed(lab_of, weights):
    same = np.array(weights)
    return lab_of(attributions=[Attribution(same, same.copy()) for _ in range(5)])


def three_vectors(lab_of, tiny_folder):
    held = memory.held.uncached(open_model(str(tiny_folder("gpt2"))))
    table = held.table.assign(bytes=held.table["bytes"] * 3 // 2)
    return lab_of(given=[(memory.held, replace(held, table=table))])


def same_either_way(**columns):
    table = pd.DataFrame({"prompt": range(16), "steps": 9, "largest": 0.0, "flips": 0} | columns)
    both = [table.assign(dtype=d) for d in ("float32", "bfloat16")]
    return [(equality.equality, pd.concat(both))]


def below_p(p):
    """A nucleus that leaves out the token which crosses p."""

    def rule(z):
        mass = z.softmax(-1).sort(descending=True, dim=-1)
        keep = mass.values.cumsum(-1) < p
        return z.masked_fill(~torch.zeros_like(keep).scatter(-1, mass.indices, keep), -math.inf)

    return rule


def answers(correct, n=60, mass=1.0, level=-1):
    table = pd.DataFrame({"fact_id": range(n), "confidence": 0.95, "correct": correct})
    return [(answers_by_exposure.answers, table.assign(mass=mass, level=level))]


def scored(losses):
    table = pd.DataFrame({"document": np.arange(len(losses)) % 20, "log_prob": -losses})
    return [(positions.positions, table.assign(top_prob=1.0))]


def texts(loops, human_loops=0, n=24):
    """Greedy texts and as much human text, the first of each kind with a sequence twice."""
    again, fresh = tuple(range(10)) * 2, tuple(range(20))
    kinds = [[again if i < k else fresh for i in range(n)] for k in (loops, human_loops)]
    made = pd.DataFrame({"setting": "greedy", "prompt": range(n), "ids": kinds[0]})
    # A longer piece, and a second one of each document, which must both be cut away.
    longer = [ids + ids for ids in kinds[1]] + [again] * n
    people = pd.DataFrame({"prompt": [*range(n), *range(n)], "ids": longer})
    return [(samples.samples, made), (samples.human, people)]


def beams():
    table = pd.DataFrame({"greedy_bits": 9.0, "beam_bits": [9.0] * 9})
    return [(choices.beams, table)]


def maps():
    table = pd.DataFrame(
        {"map": ["softmax", "sparsemax"], "undefined": [0, 4], "shift_change": [0.5, 0.5]}
    )
    return [(one_prompt.map_properties, table.assign(prompts=4))]


def swept():
    rows = [
        {"prompt": p, "temperature": t, "entropy_bits": bits + p / 10}
        for p in range(9)
        for t, bits in ((0.1, 5.0), (1.0, 2.0))
    ]
    return [(temperature.sweep, pd.DataFrame(rows))]


def rivals():
    bits = pd.DataFrame(
        {"tokenizer": ["a", "b", "c"], "bits_per_byte": [1.0, 2.0, 3.0], "unknown": 0}
    )
    rates = pd.DataFrame({"tokenizer": ["a", "b", "c"], "rate": "bytes per token", "value": 4.0})
    return [(measured.rival_bits, bits), (measured.rival_rates, rates)]


def normal_features():
    table = pd.DataFrame({"network": "model", "mean": [0.0] * 20, "std": 1.0})
    return [(norm_outputs.norm_outputs, SimpleNamespace(features=table))]


def spelt(bits=0.0):
    return [(surprisal.by_document, pd.DataFrame({"correction_bits": [bits] * 9}))]


def much_alike(n=60, vocab=50):
    """Prompts that differ a little: the first token has 0.45 to 0.55."""
    p = torch.linspace(0.45, 0.55, n, dtype=torch.float64)
    others = ((1 - p) / (vocab - 1))[:, None].expand(n, vocab - 1)
    return torch.cat([p[:, None], others], 1).log()


def nuclei(size):
    """As the library cuts them at forty tokens."""
    table = pd.DataFrame({"by_default": [min(size, 40)] * 20, "switched_off": size})
    return [(choices.nuclei, table)]


def squared():
    table = pd.DataFrame({"n": [4, 16, 48], "counter": [16, 256, 2304]})
    return [(operations.counted, table)]


def one_piece():
    return [(measured.number_splits, numbers.number_table(byte_level_bpe(), 1100).assign(pieces=1))]


CONTROLS = {
    "senses-have-tokens": lambda m: m(tokenizer=Rule(lambda text: [hash(text)])),
    "unknown-words": lambda m: m(given=[(measured.fuzz, coverage.fuzz(word_level(), 30))]),
    "decoding-shows-the-token": lambda m: m(tokenizer=word_level()),
    "one-segmentation": lambda m: m(tokenizer=word_level()),
    "the-space-is-separate": case_is_lost,
    "capitals-are-equal": case_is_lost,
    "a-word-is-a-token": lambda m: m(tokenizer=word_level()),
    "a-number-is-a-token": lambda m: m(given=one_piece()),
    "languages-cost-the-same": lambda m: m(tokenizer=Rule(lambda text: [*text[::4]])),
    "a-trailing-blank-is-harmless": blank_is_lost,
    "texts-begin-with-bos": lambda m: m(tokenizer=with_start_token()),
    "any-tag-is-special": lambda m: m(tokenizer=with_tags()),
    "what-looks-alike-is-alike": lambda m: m(tokenizer=wordpiece()),
    "only-softmax-sums-to-one": lambda m: m(given=maps()),
    "temperature-divides-probabilities": lambda m: m(prompt_logits=even()),
    "temperature-changes-the-first-choice": lambda m: m(
        prompt_logits=one_hot(), temperature=lambda t: lambda z: z.roll(int(10 * t), -1)
    ),
    "a-low-temperature-is-random": lambda m: m(given=swept()),
    "logits-are-log-probabilities": lambda m: m(prompt_logits=one_hot().log_softmax(-1)),
    "a-shift-makes-tokens-likelier": lambda m: m(given=maps()),
    "ten-tokens-are-all": lambda m: m(prompt_logits=one_hot()),
    "sure-means-true": lambda m: m(given=answers(True)),
    "any-calibration-error-counts": lambda m: m(given=scored(np.ones(200))),
    "a-word-is-the-product-of-its-pieces": lambda m: m(given=spelt()),
    "every-token-has-a-probability": lambda m: m(tokenizer=with_start_token()),
    "perplexity-compares-tokenizers": lambda m: m(given=rivals()),
    "a-sentence-sees-its-batch": batch_norm,
    "later-words-change-earlier-ones": batch_norm,
    "norms-give-standard-normals": lambda m: m(given=normal_features()),
    "positions-are-sines": sines,
    "rotations-are-added": positions_added,
    "the-model-is-random": lambda m: m(model=m().model.train()),
    "one-prediction-for-a-text": last_position_only,
    "the-head-adds-parameters": lambda m: m("llama"),
    "more-heads-more-parameters": fixed_width_of_heads,
    "attention-holds-most": lambda m: gpt2_of(m, n_embd=64, n_inner=4, n_positions=8),
    "any-distribution-is-possible": lambda m: gpt2_of(m, n_embd=320),
    "attention-explains": lambda m: attributed(m, [0.4, 0.1, 0.3, 0.2]),
    "the-first-token-matters-most": lambda m: attributed(m, [0.7, 0.1, 0.1, 0.1]),
    "asking-for-attention-is-enough": eager,
    "the-last-state-needs-the-norm": without_last_norm,
    "one-state-for-each-layer": lambda m: run_with(m, states=lambda s: s[1:]),
    "similar-vectors-mean-the-same": lambda m: run_with(m, states=lambda s: noise(s, 512)),
    "one-vector-for-each-word": no_context,
    "only-the-last-layer-knows": lambda m: run_with(m, states=noise),
    "every-head-looks-everywhere": lambda m: run_with(m, attentions=uniform),
    "a-significant-head-is-a-finding": lambda m: run_with(m, attentions=uniform),
    "the-cache-holds-queries": three_vectors,
    "a-cached-step-costs-the-same": lambda m: m("mistral"),
    "the-cache-approximates": lambda m: m(given=same_either_way(flips=9)),
    "the-cache-is-exact-to-the-bit": lambda m: m(given=same_either_way()),
    "the-cache-is-free": three_vectors,
    "twice-the-text-four-times-the-work": lambda m: m(given=squared()),
    "the-padding-side-does-not-matter": lambda m: m(prompts=["the cat sat"] * 5),
    "temperature-zero-is-a-setting": lambda m: m(
        prompt_logits=one_hot(), temperature=lambda t: lambda z: z / t if t else z
    ),
    "top-p-runs-alone": lambda m: m(given=nuclei(5)),
    "the-nucleus-stops-before-p": lambda m: m(top_p=below_p),
    "top-k-keeps-a-fixed-share": lambda m: m(prompt_logits=even()),
    "the-order-of-rules-is-free": lambda m: m(prompt_logits=even()),
    "greedy-is-most-likely": lambda m: m(given=beams()),
    "the-best-tokens-read-like-people": lambda m: m(given=texts(0, 12)),
    "a-seed-fixes-the-text": lambda m: m(sampler=GREEDY),
    "sampling-takes-the-favourite": lambda m: m(prompt_logits=one_hot()),
    "one-prompt-shows-it": lambda m: m(prompt_logits=much_alike()),
    "tokens-are-independent": lambda m: m(
        given=scored(np.random.default_rng(3).exponential(size=2000))
    ),
    "twenty-questions-are-enough": lambda m: m(given=answers(True)),
    "perplexities-are-averaged": lambda m: m(given=scored(np.ones(200))),
}
"""By id: makes a lab in which the wrong sentence is true."""


def test_every_refutation_has_a_control_and_a_theme():
    assert set(CONTROLS) == set(REGISTER)
    assert len(REGISTER) >= 35
    themes = {module.__name__.rpartition(".")[2] for module in whole.THEMES}
    assert {entry.theme for entry in REGISTER.values()} == themes


@pytest.mark.parametrize("name", list(CONTROLS))
def test_a_sentence_that_was_made_true_is_not_refuted(name, lab_of, tiny_folder):
    control = CONTROLS[name]
    needs_folder = len(inspect.signature(control).parameters) == 2
    lab = control(lab_of, tiny_folder) if needs_folder else control(lab_of)
    if name == "the-cache-is-free":
        lab = replace(lab, facts=replace(lab.facts, weight_bytes=10**12))
    found = REGISTER[name].test(lab)
    assert found.verdict == "holds here", found


# --- any model ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reused(tiny_folder):
    """Results of other chapters in which the sentences are as wrong as they are in truth."""
    held = memory.held.uncached(open_model(str(tiny_folder("gpt2"))))
    tokenizer, odd = byte_level_bpe(), np.arange(60) % 2 == 1
    clustered = np.random.default_rng(3).exponential(size=2000) + np.arange(2000) % 20
    rates = rivals()[1][1].assign(value=[9.0, 3.0, 1.0])
    normal = normal_features()[0][1].features
    tables = [
        (measured.fuzz, coverage.fuzz(tokenizer, 5)),
        (measured.case_forms, casing.case_table(tokenizer, ["cat", "dog", "the"])),
        (measured.number_splits, numbers.number_table(tokenizer, 1100)),
        (one_prompt.blank_effect, pd.DataFrame({"moved": np.linspace(0, 1, 30)})),
        (one_prompt.map_properties, maps()[0][1].assign(undefined=0, shift_change=0.0)),
        (temperature.sweep, swept()[0][1].eval("entropy_bits = temperature")),
        (positions.positions, scored(clustered)[0][1].assign(top_prob=0.5)),
        (norm_outputs.norm_outputs, SimpleNamespace(features=normal.assign(mean=2.0))),
        (operations.counted, pd.DataFrame({"n": [4, 48], "counter": [4, 50]})),
        (choices.beams, beams()[0][1].assign(beam_bits=7.0)),
        *texts(20),
        *[*answers(odd), rivals()[0], (measured.rival_rates, rates), *nuclei(60), *spelt(1.0)],
        *[*same_either_way(largest=1e-5), (memory.held, held)],
    ]
    return tables


def test_every_refutation_refutes_where_its_sentence_is_wrong(lab_of, reused):
    sink, effect = np.array([0.7, 0.1, 0.1, 0.1]), np.array([0.1, 0.5, 0.3, 0.1])
    labs = [
        lab_of("gpt2", given=reused, prompts=FEW, attributions=[Attribution(sink, effect)] * 5),
        lab_of("llama", given=reused, prompts=FEW),
    ]
    apart = {
        "every-head-looks-everywhere": run_with(lab_of, attentions=one_token),
        "one-prompt-shows-it": lab_of(prompt_logits=torch.cat([one_hot(), even()])),
    }
    found = [{n: REGISTER[n].test(lab)} for n, lab in apart.items()] + [*map(all_findings, labs)]
    never = [n for n in REGISTER if all(f[n].verdict != "refuted" for f in found if n in f)]
    assert never == []


def all_findings(lab, *themes):
    chosen = [entry for entry in REGISTER.values() if not themes or entry.theme in themes]
    return {entry.id: entry.test(lab) for entry in chosen}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gets_a_verdict_on_what_depends_on_its_parts(family, lab_of, reused):
    lab = lab_of(family, given=reused, prompts=FEW)
    found = all_findings(lab, "architecture", "layers", "generation", "sampling")
    facts = lab.facts
    rotary = found["rotations-are-added"].verdict
    assert rotary == ("refuted" if "rotary" in facts.position_scheme else "does not apply")
    assert found["positions-are-sines"].verdict == "refuted"
    layer_norm = found["norms-give-standard-normals"].verdict
    assert (layer_norm == "does not apply") == (facts.norm_kind != "LayerNorm")
    tied = found["the-head-adds-parameters"].verdict
    assert tied == ("refuted" if facts.tied_embeddings else "holds here")
    for name in ("a-sentence-sees-its-batch", "later-words-change-earlier-ones"):
        assert found[name].verdict == "refuted", family


@pytest.mark.parametrize("tokenizer", [byte_fallback_bpe, wordpiece, word_level])
def test_any_tokenizer_gets_a_verdict_on_what_depends_on_it(tokenizer, lab_of, reused):
    tokenizer = tokenizer()
    lab = lab_of(tokenizer=tokenizer, given=reused, prompts=FEW, facts={"bos_id": None})
    # The tiny model has fewer embeddings than this tokenizer has entries: run it on words it knows.
    lab.model.resize_token_embeddings(max(len(tokenizer), 320))
    found = all_findings(lab, "tokens", "generation", "sampling")
    assert found["texts-begin-with-bos"].verdict == "does not apply"


def test_a_model_that_says_nothing_breaks_no_refutation(lab_of, reused):
    lab = lab_of(given=reused, prompts=FEW)
    with torch.no_grad():
        for parameter in lab.model.parameters():
            parameter.zero_()
    found = all_findings(lab)
    assert found["ten-tokens-are-all"].verdict == "refuted"
    assert found["attention-explains"].verdict == "does not apply"


def test_the_cache_knows_every_file_that_a_reused_measurement_reads(lab_of, monkeypatch):
    """What is reused has files of its own; a change of them must reach the laboratory's key."""
    asked = []
    monkeypatch.setattr(
        Lab, "measured", lambda _lab, measurement: asked.append(measurement) or 1 / 0
    )
    lab = lab_of(prompts=FEW)
    for entry in REGISTER.values():
        if "lab.measured(" in inspect.getsource(entry.test):
            with pytest.raises(ZeroDivisionError):
                entry.test(lab)
    assert len(asked) > 20
    read = {str(file) for measurement in asked for file in measurement._files}
    assert read <= set(map(str, whole.INPUTS))


# --- what a verdict must not rest on -------------------------------------------------------------


def verdict(name, lab):
    return REGISTER[name].test(lab).verdict


def test_a_share_among_unlikely_candidates_makes_no_answer_sure(lab_of):
    odd = np.arange(60) % 2 == 1
    assert verdict("sure-means-true", lab_of(given=answers(odd))) == "refuted"
    unlikely = REGISTER["sure-means-true"].test(lab_of(given=answers(odd, mass=1e-4)))
    assert unlikely.verdict == "does not apply"
    assert "at least 90% for 0 of 60 facts" in unlikely.outcome


def test_right_answers_are_told_by_the_statements_where_these_are_known(lab_of):
    odd = np.arange(60) % 2 == 1
    known = answers(odd, level=np.where(np.arange(60) < 20, 0, 10))
    found = REGISTER["sure-means-true"].test(lab_of(given=known))
    assert found.outcome.endswith("right are 10 of 20 (0) and 20 of 40 (10).")
    unknown = REGISTER["sure-means-true"].test(lab_of(given=answers(odd)))
    assert "statements" not in unknown.outcome


def test_half_characters_do_not_count_against_encoding_again(lab_of):
    """Bytes alone are cut in one way only, but most draws of them are no text."""
    plain = copy.deepcopy(byte_level_bpe())
    found = REGISTER["one-segmentation"].test(lab_of(tokenizer=plain))
    assert found.verdict == "refuted"
    assert token_tests._is_utf8(plain, plain("é", add_special_tokens=False)["input_ids"])
    high = plain.convert_tokens_to_ids("Ã")  # the byte 0xC3, the first half of é
    assert not token_tests._is_utf8(plain, [high])


def test_languages_with_unknown_tokens_are_left_out(lab_of):
    assert verdict("languages-cost-the-same", lab_of(tokenizer=word_level())) == "does not apply"
    found = REGISTER["languages-cost-the-same"].test(lab_of())
    assert found.verdict == "refuted"
    assert "English" in found.outcome


def test_the_operations_of_a_step_are_a_line_in_the_text(lab_of):
    lab = lab_of()
    counted = [generation._step_operations(lab, n) for n in (8, 16, 24)]
    assert counted[2] - counted[1] == counted[1] - counted[0] > 0
    found = REGISTER["a-cached-step-costs-the-same"].test(lab)
    assert f"a full context of {lab.facts.context_length} " in found.outcome


def test_flips_in_few_texts_do_not_make_the_cache_an_approximation(lab_of):
    flips = [1, 1, *[0] * 14]
    found = REGISTER["the-cache-approximates"].test(lab_of(given=same_either_way(flips=flips)))
    assert found.verdict == "refuted"
    assert "2 of 16 in sixteen bits (2 of 144 steps)" in found.outcome
    flips = [1] * 8 + [0] * 8
    found = REGISTER["the-cache-approximates"].test(lab_of(given=same_either_way(flips=flips)))
    assert found.verdict == "not decided"


def test_greedy_text_may_repeat_itself_as_often_as_people_do(lab_of):
    name = "the-best-tokens-read-like-people"
    assert verdict(name, lab_of(given=texts(20, 0))) == "refuted"
    assert verdict(name, lab_of(given=texts(12, 10))) == "not decided"
    assert REGISTER[name].test(lab_of(given=texts(20, 0))).predicted[1] < 0.2


def test_a_model_with_one_favourite_agrees_with_itself_by_chance(lab_of):
    """An earlier layer that always says the favourite knows nothing of the final choices."""
    lab = lab_of()
    final = torch.zeros_like(lab.run.logits)
    final[..., 7] = 1.0
    final[:, ::4, 8] = 2.0  # the other choices: at every fourth position, in all documents
    states = [torch.zeros_like(state) for state in lab.run.states]
    norm, head = families.final_norm(lab.model), families.unembedding(lab.model)
    with torch.no_grad():
        norm.bias.zero_()[0] = 1.0
        head.weight.zero_()[7, 0] = 1.0  # a state of zeros is read as token 7
    lab = replace(lab)
    lab.__dict__["run"] = Run(final, states, [])
    found = REGISTER["only-the-last-layer-knows"].test(lab)
    assert found.value == pytest.approx(0.75, abs=0.02)
    assert found.verdict == "holds here"
    assert found.predicted[1] == pytest.approx(0.8, abs=0.02)


def test_one_focused_head_among_even_ones_refutes_that_every_head_looks_everywhere(lab_of):
    def one_of_them(attentions):
        even, peaked = uniform(attentions), one_token(attentions)
        first = torch.cat([peaked[0][:, :1], even[0][:, 1:]], 1)
        return [first, *even[1:]]

    lab = run_with(lab_of, attentions=one_of_them)
    found = REGISTER["every-head-looks-everywhere"].test(lab)
    assert (found.verdict, found.value) == ("refuted", 0.0)
    assert found.outcome.endswith("the least focused one > 99.9%.")


def test_more_attention_for_the_first_token_must_be_shown(lab_of):
    rows = [(0.3, 0.9), (0.2, 0.0), (0.28, 0.1), (0.24, 0.0), (0.26, 0.2)]
    pairs = [
        Attribution(*(np.array([first, *[(1 - first) / 3] * 3]) for first in row)) for row in rows
    ]
    lab = lab_of(attributions=pairs)  # 25.6 percent of the attention, of four tokens
    found = REGISTER["the-first-token-matters-most"].test(lab)
    assert found.verdict == "does not apply"
    assert "25.6%" in found.outcome
    assert "25.0%" in found.outcome


def test_a_cache_that_drops_old_tokens_still_shows_its_two_vectors(lab_of, tiny_folder):
    held = memory.held.uncached(open_model(str(tiny_folder("gpt2"))))
    short = held.table["bytes"].where(held.table["tokens"] < 32, held.table["bytes"] // 4)
    lab = lab_of(given=[(memory.held, replace(held, table=held.table.assign(bytes=short)))])
    assert REGISTER["the-cache-holds-queries"].test(lab).value == 2


def test_nothing_that_is_added_has_no_direction(lab_of):
    found = REGISTER["positions-are-sines"].test(lab_of("llama"))
    assert found.verdict == "refuted"
    assert found.outcome.startswith("Nothing is added")
    assert "cosine" in REGISTER["positions-are-sines"].test(lab_of()).outcome


def test_tokens_that_go_together_count_as_fewer(lab_of):
    rng, document = np.random.default_rng(3), np.arange(2000) % 20
    together = scored(rng.exponential(size=2000) + document)
    found = REGISTER["tokens-are-independent"].test(lab_of(given=together))
    assert "so the 2,000 tokens count as about " in found.outcome
    alone = scored(rng.exponential(size=2000))
    found = REGISTER["tokens-are-independent"].test(lab_of(given=alone))
    assert "count as" not in found.outcome


# --- the record and the page --------------------------------------------------------------------


def test_a_sentence_is_refuted_only_outside_of_its_prediction():
    assert exact(0.2, 0.0, "", n=3, n_unit="x").verdict == "refuted"
    assert exact(0.2, (0.1, 0.3), "", n=3, n_unit="x").verdict == "holds here"
    assert exact(0.0, more_than(0), "", n=3, n_unit="x").verdict == "refuted"
    assert exact(1e-12, more_than(0), "", n=3, n_unit="x").verdict == "holds here"
    assert exact(math.nan, 0.0, "", n=3, n_unit="x").verdict == "does not apply"
    assert estimated(wilson(9, 10), 1.0, "").verdict == "refuted"  # one counterexample in ten
    assert estimated(wilson(10, 10), 1.0, "").verdict == "holds here"
    assert estimated(wilson(4, 10), (0.5, 1.0), "").verdict == "not decided"  # the interval reaches
    assert estimated(wilson(6, 10), (0.5, 1.0), "").verdict == "not decided"
    assert estimated(wilson(99, 100), (0.5, 1.0), "").verdict == "holds here"
    zero = Finding(0.1, (0.0, 0.0), "", 9, "x", interval=(-0.1, 0.3))
    assert zero.verdict == "not decided"


def test_a_docstring_without_both_sentences_is_refused():
    def half(lab: Lab) -> Finding:
        """Wrong: This has no truth."""
        return does_not_apply("")

    with pytest.raises(ValueError, match="must say"):
        refutation(half)


@pytest.mark.parametrize("entry", REGISTER.values(), ids=lambda entry: entry.id)
def test_a_refutation_is_short_and_its_sentences_are_whole(entry):
    text = mistakes.code({entry.id: entry}, entry.theme).markdown
    assert len(text.strip().splitlines()) - 3 <= 15  # without fences and `def`
    assert '"""' not in text
    assert entry.wrong.endswith((".", "”", ")"))
    assert entry.truth.endswith(".")
    assert entry.wrong[0].isupper() or entry.wrong[0] in "`‘"


def test_the_page_tells_every_verdict_and_the_expectation():
    entries = dict(list(REGISTER.items())[:4])
    chosen = [
        exact(0.25, 1.0, "{value} of {n} are so.", n=8, n_unit="words", unit="share"),
        estimated(wilson(8, 8, unit="words"), 1.0, "{value} of {n} are so.", unit="share"),
        does_not_apply("There are no words."),
        estimated(wilson(4, 9, unit="words"), (0.5, 1.0), "{value} of {n} are.", unit="share"),
    ]
    table = pd.DataFrame([whole.as_row(i, f) for i, f in zip(entries, chosen, strict=True)])
    report = SimpleNamespace(claim=lambda id, sentence, **k: make_claim(id, "lab", sentence, **k))
    claims = mistakes.claims(report, table, entries)
    theme = next(iter(entries.values())).theme
    page = mistakes.rows(table, claims, entries, theme).markdown
    no, none = "not supported", "not applicable"
    assert [c.verdict for c in claims.values()] == ["supported", no, none, no]
    for text in (
        "25.0%",
        "[refuted]{.verdict .supported}",
        "[holds here]{.verdict .not-supported}",
    ):
        assert text in page
    for text in ("expects 100%", "[does not apply]{.verdict .not-applicable}", "[not decided]"):
        assert text in page
    first = claims[next(iter(entries))]
    assert first.sentence.endswith("is wrong here: 25.0% of 8\u00a0words are so.")
    assert mistakes.sentences(table, entries, "holds here").count("“") == 1


def test_a_claim_on_what_does_not_apply_says_so():
    id, entry = next(iter(REGISTER.items()))
    table = pd.DataFrame([whole.as_row(id, does_not_apply("There are no words."))])
    table = table.astype({"value": float, "low": float, "high": float})
    report = SimpleNamespace(claim=lambda id, sentence, **k: make_claim(id, "lab", sentence, **k))
    claim = mistakes.claims(report, table, {id: entry})[id]
    assert claim.sentence.endswith("does not apply here: there are no words.")


def test_expectations_are_told_without_superfluous_digits():
    assert mistakes.predicted(0.5, 1.0, "share") == "50% to 100%"
    assert mistakes.predicted(*more_than(0), "bits") == "more than 0\u00a0bits"
    assert mistakes.predicted(*more_than(0.01), "") == "more than 0.01"
    assert mistakes.predicted(0.0, 0.01, "points") == "0 to 1\u00a0percentage point"
    assert mistakes.predicted(2097152.0, 2097152.0, "") == "2,097,152"
    assert mistakes.predicted(0.839779, 1.18581, "") == "0.84 to 1.19"
    assert mistakes.predicted(*more_than(1e-5), "") == "more than 1\u00a0×\u00a010⁻⁵"
    assert mistakes.predicted(0.999, 1.0, "") == "0.999 to 1"


def test_names_of_options_are_set_as_code_and_nothing_else_is_markup():
    assert mistakes._prose("With `a_b=True`, *all* is |.") == "With `a_b=True`, \\*all\\* is \\|."
