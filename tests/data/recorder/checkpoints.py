"""Builds one tiny random checkpoint with transformers' classes, saves it and records its reference files.

The truth is float32 arithmetic with eager attention on the *stored* weights. A seed is accepted only if a test can
trust and see everything: clear greedy margins, no near-tie at any prompt position, little rounding noise, and logits
that change clearly when any one tensor is neutralised, two tokens are swapped, or rope is left out.
"""

import copy
import json
import shutil
import struct
import zlib
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file

from .kinds import Kind

GREEDY_MARGIN = 1e-2  # between the best two logits at each generated token
PROMPT_MARGIN = 2e-4  # the same at each prompt position
NOISE = 1e-4  # float32 against float64 matrix products
CLEAR = 2e-2  # what a mistake must change at least
SPAN = 3.0  # largest minus smallest logit of a position


class Rejected(Exception):
    """This seed does not make a good fixture."""


def seed_of(*parts) -> int:
    return zlib.crc32("/".join(map(str, parts)).encode())


def record(kind: Kind, folder: Path, seed_offset: int, extra_files=None, accept=None, first_ids=None) -> dict:
    """Makes `folder`; returns what was measured. `extra_files(folder)` may add a tokenizer before anything is loaded,
    `accept(prompt, continuation)` may raise Rejected, `first_ids(stem, length, generator)` may choose the prompts."""
    for attempt in range(1000):
        generator = torch.Generator().manual_seed(seed_of(kind.name, seed_offset, attempt))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            save(kind, folder, generator)
            if extra_files:
                extra_files(folder)
            measured = {"attempt": attempt, "noise": 0.0, "span": float("inf"), "clear": float("inf")}
            for stem, length in kind.prompts.items():
                prompt = (first_ids or random_prompt)(kind, stem, length, generator)
                record_prompt(kind, folder, stem, prompt, measured, accept)
        except Rejected as reason:
            measured = {"attempt": attempt, "reason": str(reason)}
            continue
        if kind.header_offset is not None:
            misalign(folder / "model.safetensors", kind.header_offset)
        return measured
    raise SystemExit(f"{kind.name}: no seed was accepted: {measured}")


def random_prompt(kind: Kind, _stem, length, generator):
    ids = torch.randint(3, kind.config["vocab_size"], (length,), generator=generator)
    ids[0] = kind.config["bos_token_id"]
    return ids


# Weights


def save(kind: Kind, folder: Path, generator):
    """Writes config.json, generation_config.json and the weights, as a hub folder has them."""
    model = build(kind.config)
    # A checkpoint whose flag says "tied" may still carry a head: build it untied, so that it is written.
    if kind.own_head:
        model = build({**kind.config, "tie_word_embeddings": False})
    state = model.state_dict()
    tied = kind.config.get("tie_word_embeddings", False) and not kind.own_head
    for name in sorted(state):
        if not (tied and name == "lm_head.weight"):
            state[name].copy_(random_weight(name, state[name].shape, generator))
    model.to(getattr(torch, kind.storage))
    if kind.norm_storage:
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.data = parameter.data.to(getattr(torch, kind.norm_storage))
    total = sum(p.numel() * p.element_size() for p in model.parameters())
    largest = max(p.numel() * p.element_size() for p in model.parameters())
    limit = 10**12 if kind.shards == 1 else max(int(total / kind.shards * 1.15), largest)
    model.save_pretrained(folder, max_shard_size=limit)
    assert len(list(folder.glob("*.safetensors"))) == kind.shards, f"{kind.name}: {sorted(folder.iterdir())}"
    (folder / "generation_config.json").unlink(missing_ok=True)
    write_json(folder / "config.json", kind.config)
    if kind.generation_config:
        write_json(folder / "generation_config.json", kind.generation_config)


def random_weight(name, shape, generator):
    """Large enough that attention is peaked and logits span several units; no norm is all ones, no bias zero."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("norm.weight"):
        around = 1.6 if name.endswith(("q_norm.weight", "k_norm.weight")) else 1.0
        return (around + 0.3 * noise).clamp(min=0.2)
    if name.endswith(".bias"):
        return 0.4 * noise
    gain = {"embed_tokens": 2.0, "lm_head": 2.2, "q_proj": 1.7, "k_proj": 1.7}.get(name.split(".")[-2], 1.3)
    return gain / shape[1] ** 0.5 * noise


def misalign(path: Path, offset: int):
    """Rewrites a safetensors file so that its data starts at `offset` modulo 8: legal, and found in older files."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = data[8 : 8 + length].rstrip(b" ")
    header += b" " * ((offset - len(header)) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])


# Models


def model_class(config: dict):
    return getattr(transformers, config["architectures"][0])


def build(config: dict):
    """A float32 model with eager attention from a config.json's content."""
    cls = model_class(config)
    return cls._from_config(cls.config_class.from_dict(copy.deepcopy(config)), attn_implementation="eager",
                            dtype=torch.float32).eval()


def load(kind: Kind, folder: Path):
    return model_class(kind.config).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@torch.no_grad()
def logits_of(model, ids):
    return model(ids[None]).logits[0]


def without_rope(model):
    """Replaces the rotation by none: cos 1, sin 0."""

    def identity(x, position_ids, *_):
        shape = (*position_ids.shape, model.model.layers[0].self_attn.head_dim)
        return torch.ones(shape, dtype=x.dtype), torch.zeros(shape, dtype=x.dtype)

    model.model.rotary_emb.forward = identity
    return model


# Records


@torch.no_grad()
def record_prompt(kind: Kind, folder: Path, stem, prompt, measured, accept):
    logits = logits_of(load(kind, folder), prompt)
    assert logits.dtype == torch.float32 and logits.isfinite().all()
    reject_unless(margins(logits).min() > PROMPT_MARGIN, "near-tie in the prompt")
    span = (logits.max(-1).values - logits.min(-1).values).min().item()
    reject_unless(span > SPAN, "flat logits")

    continuation = greedy(kind, folder, prompt)
    if kind.cache_matters:
        reject_unless(continuation.tolist() != afresh(kind, folder, prompt), "the cache makes no difference")
    if accept:
        accept(prompt, continuation)

    noise = (logits - logits_of(load(kind, folder).double(), prompt)).abs().max().item()
    reject_unless(noise < NOISE, f"rounding noise {noise}")
    clear = min(change for _, change in changes(kind, folder, prompt, logits)) if len(prompt) > 40 else float("inf")
    reject_unless(clear > CLEAR, "a mistake would be invisible")

    save_file(
        {"input_ids": prompt, "logits": logits.contiguous(), "greedy_ids": torch.cat([prompt, continuation])},
        folder / f"{stem}.safetensors",
    )
    measured["noise"] = max(measured["noise"], noise)
    measured["span"] = min(measured["span"], span)
    measured["clear"] = min(measured["clear"], clear)


def greedy(kind: Kind, folder: Path, prompt):
    """The greedy continuation by transformers' generate(), with its cache; ends early only at an EOS id."""
    out = load(kind, folder).generate(
        prompt[None], attention_mask=torch.ones_like(prompt[None]), max_new_tokens=kind.new_tokens, do_sample=False,
        pad_token_id=0, return_dict_in_generate=True, output_logits=True,
    )
    continuation = out.sequences[0, len(prompt) :]
    reject_unless(margins(torch.cat(out.logits)).min() > GREEDY_MARGIN, "near-tie in the continuation")
    reject_unless(len(set(continuation.tolist())) >= 5, "dull continuation")
    eos = kind.config["eos_token_id"]  # one id or a list
    stops = list(eos) if isinstance(eos, list) else [eos]
    before_end = continuation
    if kind.ends_with_eos:
        listed = kind.generation_config["eos_token_id"]
        reject_unless(continuation[-1].item() in listed[1:] and len(continuation) >= 6, "no EOS in time")
        stops += listed
        before_end = continuation[:-1]
    reject_unless(not set(stops) & set(before_end.tolist()), "EOS in the continuation")
    assert kind.ends_with_eos or len(continuation) == kind.new_tokens
    return continuation


def afresh(kind: Kind, folder: Path, prompt):
    """The greedy continuation without a cache: the whole sequence anew for each token."""
    model, ids = load(kind, folder), prompt
    for _ in range(kind.new_tokens):
        ids = torch.cat([ids, logits_of(model, ids)[-1:].argmax(-1)])
    return ids[len(prompt) :].tolist()


def changes(kind: Kind, folder: Path, prompt, logits):
    """(what was done wrong, by how much the logits differ then), for every mistake that a test must see."""

    def difference(model, ids=prompt):
        return (logits_of(model, ids) - logits).abs().max().item()

    swapped = prompt.clone()
    swapped[[-8, -4]] = swapped[[-4, -8]]  # near the end, or a sliding window hides them from the last position
    reject_unless(swapped[-8] != swapped[-4], "the swapped tokens are equal")
    last = (logits_of(load(kind, folder), swapped)[-1] - logits[-1]).abs().max().item()
    yield "two tokens swapped", last
    yield "no rope", difference(without_rope(load(kind, folder)))

    state = {k: v for file in folder.glob("model*.safetensors") for k, v in load_file(file).items()}
    for name in sorted(state):
        model = load(kind, folder)
        parameter = model.get_parameter(name)
        parameter.data = torch.ones_like(parameter) if "norm" in name else torch.zeros_like(parameter)
        yield f"{name} neutral", difference(model)

    wrong = dict(kind.visible)
    scaling_key = "rope_parameters" if kind.config.get("rope_parameters") else "rope_scaling"
    scaling = kind.config.get(scaling_key) or {"rope_type": "default"}
    theta = scaling.get("rope_theta", kind.config.get("rope_theta", 10000.0))
    wrong["theta tripled"] = {scaling_key: {**scaling, "rope_theta": 3 * theta}}
    if scaling.get("rope_type", scaling.get("type")) != "default":
        wrong["no rope scaling"] = {scaling_key: {"rope_type": "default", "rope_theta": theta}}
    for label, keys in wrong.items():
        model = build({**kind.config, **keys})
        model.load_state_dict(load(kind, folder).state_dict())
        yield label, difference(model)


def margins(logits):
    best = logits.topk(2).values
    return best[:, 0] - best[:, 1]


def reject_unless(condition, reason):
    if not condition:
        raise Rejected(reason)


def write_json(path: Path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
