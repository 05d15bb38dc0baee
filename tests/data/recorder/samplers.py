"""What transformers' logits processors make of fixed logits: the probabilities that a sampler must draw from."""

import json
from pathlib import Path

import numpy
import torch
from transformers import (
    GenerationConfig, LlamaConfig, LlamaForCausalLM, MinPLogitsWarper, RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper, TypicalLogitsWarper,
)

from .checkpoints import seed_of

# parameter of generation_config.json -> the processor, in transformers' order
PROCESSORS = {
    "repetition_penalty": RepetitionPenaltyLogitsProcessor,
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical_p": TypicalLogitsWarper,
}

ALONE = {
    "repetition_penalty": [1.1, 1.3, 2.0, 0.8],
    "temperature": [0.1, 0.6, 0.8, 1.5, 10.0],
    "top_k": [1, 2, 3, 5, 40, 1000],
    "top_p": [0.01, 0.3, 0.5, 0.9, 0.95, 0.999],
    "min_p": [0.001, 0.05, 0.1, 0.5, 1.0],
    "typical_p": [0.05, 0.2, 0.5, 0.9, 0.95],
}

TOGETHER = [
    {"temperature": 0.6, "top_p": 0.9},
    {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
    {"temperature": 1.7, "top_k": 7, "top_p": 0.8},
    {"repetition_penalty": 1.2, "temperature": 0.7, "top_k": 20, "top_p": 0.9},
    {"repetition_penalty": 1.1, "min_p": 0.1},
    {"repetition_penalty": 1.5, "temperature": 2.5, "top_k": 12, "top_p": 0.7, "min_p": 0.02},
    {"temperature": 0.3, "top_k": 3, "min_p": 0.2},
    {"top_k": 5, "top_p": 0.5},
    {"temperature": 0.7, "typical_p": 0.9},
    {"temperature": 1.4, "top_k": 20, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.6},
]


def record(folder: Path, seed_offset: int):
    folder.mkdir(parents=True, exist_ok=True)
    vectors = logits_vectors(seed_offset)
    cases = []
    for name, (logits, prompt) in vectors.items():
        for parameter, values in ALONE.items():
            cases += [case(name, logits, prompt, {parameter: value}) for value in values]
        cases += [case(name, logits, prompt, parameters) for parameters in TOGETHER]
    record = {
        "logits": {name: floats(logits) for name, (logits, _) in vectors.items()},
        "previous_ids": {name: prompt for name, (_, prompt) in vectors.items()},
        "cases": cases,
    }
    # One case a line: readable, and a difference in a new version shows up as one line.
    lines = json.dumps(record, separators=(",", ":")).replace('{"vector"', '\n{"vector"').replace('"cases"', '\n"cases"')
    (folder / "transformers.json").write_text(lines + "\n", encoding="utf-8")


def logits_vectors(seed_offset):
    """name -> (float32 logits, the ids that came before: prompt and output, with repetitions)"""
    generator = torch.Generator().manual_seed(seed_of("samplers", seed_offset))
    normal = 2.5 * torch.randn(48, generator=generator)
    coarse = (torch.randn(32, generator=generator) * 2).round()  # many ties, also around every cut
    wide = 60 * torch.randn(24, generator=generator)  # probabilities that underflow
    return {
        "normal": (normal, [3, 7, 3, 41, int(normal.argmax()), int(normal.argmin())]),
        "ties": (coarse, [0, 5, 9, int(coarse.argmax()), 9]),
        "wide": (wide, [1, 2, int(wide.argmax())]),
        "equal": (torch.full((9,), 1.25), [4]),
        "one": (torch.tensor([-3.0]), [0]),
        "zeros and signs": (torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5]), [0, 1, 2, 3, 5]),
    }


def case(name, logits, previous, parameters):
    ids, scores = torch.tensor([previous]), logits[None].clone()
    cut_through_ties = False
    for parameter, processor in PROCESSORS.items():
        if parameter in parameters:
            before, scores = scores, processor(parameters[parameter])(ids, scores.clone())
            # Where a cut goes through equal logits, transformers' sort decides which of them survive: a test can only
            # compare the sorted probabilities there.
            kept = scores[0] > -torch.inf
            removed = ~kept & (before[0] > -torch.inf)
            cut_through_ties |= bool((before[0][kept][:, None] == before[0][removed][None]).any())
    assert torch.equal(scores, by_generate(ids, logits, parameters)), (name, parameters)
    result = {"vector": name, "parameters": parameters, "probabilities": floats(scores.softmax(-1)[0])}
    if cut_through_ties:
        result["cut_through_ties"] = True
    return result


def by_generate(ids, logits, parameters):
    """The same through generate()'s own list of processors: proves the order used here."""
    config = GenerationConfig(do_sample=True, **{"top_k": 0, **parameters})
    size = len(logits)
    model = LlamaForCausalLM(LlamaConfig(vocab_size=max(size, 3), hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                         num_attention_heads=1))
    config, _ = model._prepare_generation_config(config)
    processors = model._get_logits_processor(config, input_ids_seq_length=ids.shape[1], device="cpu")
    return processors(ids, logits[None].clone())


def floats(tensor):
    """Shortest decimals that give the same float32 back."""
    return [float(str(numpy.float32(value))) for value in tensor.tolist()]
