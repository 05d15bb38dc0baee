"""What transformers makes of texts as a judge: log-probabilities, perplexities over a window, endings of a context."""

import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = "text-bpe"
TEXT = """The keeper climbed the stairs and counted the steps. There are one hundred and twelve, she said; the naïve visitor smiled.
In the evening the lamp was lit again, and the light went round and round over the sea. 🙂 In 1987 the mast broke.
The wind came from the west; the waves were small, and the gulls were loud over the roofs of the harbour."""
WINDOWS = [(256, 64), (64, 16), (64, 64), (50, 33), (16, 1)]
QUESTIONS = [
    {"context": "The harbour was quiet in", "choices": [" the morning", " a teapot", " two"], "answer": 0},
    {"context": "The wind came from ", "choices": ["the west", "bread", "the sea and the land"], "answer": 1},
    {"context": "What is the weather like?", "choices": [" It's raining", " raining raining"], "answer": 1},
    {"context": "", "choices": ["The", "Zebra"], "answer": 0},
]


def record(checkpoints: Path, folder: Path):
    folder.mkdir(parents=True, exist_ok=True)
    path = checkpoints / MODEL
    tokenizer = AutoTokenizer.from_pretrained(path)
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager").eval()
    short = tokenizer(TEXT[:120]).input_ids
    result = {
        "model": MODEL,
        "text": TEXT,
        "short": {"text": TEXT[:120], "ids": short, "top": 3, "tokens": by_token(model, short, 3)},
        "perplexity": [perplexity(model, tokenizer(TEXT, return_tensors="pt").input_ids, *window) for window in WINDOWS],
        "questions": [dict(question, logprobs=endings(model, tokenizer, question)) for question in QUESTIONS],
    }
    (folder / "transformers.json").write_text(json.dumps(result, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def logprobs(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def by_token(model, ids, n_top):
    rows = logprobs(model, ids)
    found = []
    for place, id in enumerate(ids[1:]):
        top = rows[place].topk(n_top)
        found.append([rows[place][id].item(), top.indices.tolist(), top.values.tolist()])
    return found


def perplexity(model, ids, max_length, stride):
    """The loop of transformers' guide "Perplexity of fixed-length models", as written there but for the device."""
    seq_len = ids.size(1)
    nll_sum, n_tokens, prev_end_loc = 0.0, 0, 0
    for begin_loc in range(0, seq_len, stride):
        end_loc = min(begin_loc + max_length, seq_len)
        trg_len = end_loc - prev_end_loc
        input_ids = ids[:, begin_loc:end_loc]
        target_ids = input_ids.clone()
        target_ids[:, :-trg_len] = -100
        num_valid_tokens = (target_ids != -100).sum().item()
        num_loss_tokens = num_valid_tokens - (1 if trg_len == end_loc - begin_loc else 0)  # the shift loses a label only then
        if num_loss_tokens > 0:
            with torch.no_grad():
                nll_sum += model(input_ids, labels=target_ids).loss.item() * num_loss_tokens
        n_tokens += num_loss_tokens
        prev_end_loc = end_loc
        if end_loc == seq_len:
            break
    return {"window": max_length, "stride": stride, "n_scored": n_tokens, "perplexity": float(torch.tensor(nll_sum / n_tokens).exp())}


def endings(model, tokenizer, question):
    """Sums over an ending's tokens, split from the context's as lm-evaluation-harness does."""
    context, sums = question["context"].rstrip(" "), []
    n_context = max(1, len(tokenizer(context).input_ids))
    for choice in question["choices"]:
        ids = tokenizer(question["context"] + choice).input_ids
        rows = logprobs(model, ids)
        sums.append(sum(rows[place - 1][ids[place]].item() for place in range(n_context, len(ids))))
    return sums
