"""Trains the demonstration model and writes it in Hugging Face layout: python train.py

    python train.py --out ../stories --work /tmp/stories-run        the real model; run it again to go on after a stop
    python train.py --out /tmp/tiny --work /tmp/tiny-run --preset smoke       one minute, to see that everything fits together

The data are made while it trains (`data.py`), the tokenizer first of all (`tokenizer.py`). It runs on a CUDA device where there is one,
else on the processor; the seeds are fixed. It does not judge the result; `evaluate.py` does.
"""

import argparse
import json
import math
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

import attention
import curve
import tokenizer
from data import NOT_LEARNED, Encoder, Steps, batches, held_out_documents

SEED = 1
BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.1
CLIP = 1.0


@dataclass(frozen=True)
class Preset:
    """The shape of the model and of its training."""

    dim: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    hidden_dim: int
    n_steps: int
    n_warmup: int
    share_of_decay: float  # of the steps, at the end, over which the learning rate falls to 0
    learning_rate: float
    evaluate_every: int
    save_every: int


PRESETS = {
    # Each row of each matrix is 256 or 512 long, so that every quantised format can hold it.
    "stories": Preset(256, 6, 4, 2, 512, 3200, 100, 0.35, 3e-3, 200, 50),
    "smoke": Preset(64, 2, 4, 2, 128, 60, 10, 0.4, 5e-3, 20, 20),
}


def llama(preset, encoder, padding):
    config = LlamaConfig(
        vocab_size=tokenizer.VOCABULARY,
        hidden_size=preset.dim,
        intermediate_size=preset.hidden_dim,
        num_hidden_layers=preset.n_layers,
        num_attention_heads=preset.n_heads,
        num_key_value_heads=preset.n_kv_heads,
        max_position_embeddings=tokenizer.CONTEXT,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=encoder.begin,
        eos_token_id=[encoder.end, encoder.end_of_turn],
        pad_token_id=padding,
        attn_implementation="causal",
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():  # the residual stream keeps its size, however deep the model (GPT-2, section 2.3)
        for layer in model.model.layers:
            for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
                projection.weight /= math.sqrt(2 * preset.n_layers)
    return model


def learning_rate(preset, step):
    """Warm-up, then constant, then straight down to nearly 0 (warmup-stable-decay)."""
    if step < preset.n_warmup:
        return preset.learning_rate * (step + 1) / preset.n_warmup
    n_decay = round(preset.n_steps * preset.share_of_decay)
    left = (preset.n_steps - step) / n_decay
    return preset.learning_rate * min(1.0, left)


class Optimiser:
    """Muon (Jordan et al., 2024) for the matrices of the layers, AdamW for the embedding and the norms' gains.

    Muon's updates are scaled to the size of AdamW's (Liu et al., 2025, section 2.2), so that both take the same learning rate. No decay on the
    gains. With the same 20 steps' documents AdamW alone came to a loss of 5.8 and this to 5.2.
    """

    def __init__(self, model):
        embeddings = [model.model.embed_tokens.weight]
        gains = [weight for weight in model.parameters() if weight.dim() < 2]
        matrices = [weight for weight in model.model.layers.parameters() if weight.dim() == 2]
        groups = [{"params": embeddings, "weight_decay": WEIGHT_DECAY}, {"params": gains, "weight_decay": 0.0}]
        self.parts = [
            torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(groups, betas=BETAS, eps=1e-8),
        ]

    def step(self, learning_rate):
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()
            part.zero_grad(set_to_none=True)

    def state_dict(self):
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, states):
        for part, state in zip(self.parts, states):
            part.load_state_dict(state)


def sum_of_losses(model, ids, labels):
    """The summed cross-entropy over the learned tokens of a batch. Only those rows of the output matrix are computed."""
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    keep = targets != NOT_LEARNED
    logits = model.lm_head(hidden[keep])
    return functional.cross_entropy(logits.float(), targets[keep], reduction="sum")


class Trainer:
    def __init__(self, preset, work, device):
        self.preset, self.work, self.device = preset, work, device
        self.encoder = Encoder(work / "tokenizer.json")
        self.padding = self.encoder.tokenizer.token_to_id(tokenizer.PADDING)
        torch.manual_seed(SEED)
        self.model = llama(preset, self.encoder, self.padding).to(device)
        self.optimiser = Optimiser(self.model)
        self.step = 0
        self.seconds = 0.0
        self.training, self.held_out = [], []
        self.checkpoint = work / "checkpoint.pt"
        self.held_out_batches = list(batches(held_out_documents(self.encoder, 96), self.padding))

    def autocast(self):
        return torch.autocast(self.device, dtype=torch.bfloat16)

    def resume(self):
        if self.checkpoint.exists():
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            if state["preset"] != vars(self.preset):
                raise SystemExit(f"{self.checkpoint}: preset: expected {vars(self.preset)}, found {state['preset']}")
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.training, self.held_out = state["training"], state["held_out"]
            print(f"going on at step {self.step}", flush=True)

    def save(self):
        state = {
            "preset": vars(self.preset),
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "training": self.training,
            "held_out": self.held_out,
        }
        beside = self.checkpoint.with_suffix(".new")
        torch.save(state, beside)
        os.replace(beside, self.checkpoint)
        (self.work / "loss.svg").write_text(curve.draw(self.training, self.held_out, self.preset.n_steps), encoding="utf-8")

    def take_step(self, micro_batches):
        """One update from the batches of a step; returns the mean loss and the number of tokens read."""
        n_learned = sum(int((labels[:, 1:] != NOT_LEARNED).sum()) for _, labels in micro_batches)
        total, n_tokens = 0.0, 0
        for ids, labels in micro_batches:
            ids, labels = ids.to(self.device), labels.to(self.device)
            with self.autocast():
                loss = sum_of_losses(self.model, ids, labels) / n_learned
            loss.backward()
            total += loss.item()
            n_tokens += ids.numel()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
        self.optimiser.step(learning_rate(self.preset, self.step))
        self.step += 1
        return total, n_tokens

    @torch.no_grad()
    def held_out_loss(self):
        total, n_learned = 0.0, 0
        for ids, labels in self.held_out_batches:
            with self.autocast():
                total += sum_of_losses(self.model, ids.to(self.device), labels.to(self.device)).item()
            n_learned += int((labels[:, 1:] != NOT_LEARNED).sum())
        return total / n_learned

    def train(self):
        preset = self.preset
        steps = Steps(self.work / "tokenizer.json", self.step, preset.n_steps, self.padding)
        loader = torch.utils.data.DataLoader(steps, batch_size=None, num_workers=1, prefetch_factor=8)
        started, n_tokens = time.monotonic(), 0
        before = self.seconds
        for _, micro_batches in loader:
            loss, n = self.take_step(micro_batches)
            n_tokens += n
            self.seconds = before + time.monotonic() - started
            self.training.append((self.step, loss))
            if self.step % 20 == 0:
                speed = n_tokens / (time.monotonic() - started)
                left = (preset.n_steps - self.step) * self.seconds / self.step / 60
                print(f"step {self.step} loss {loss:.3f} {speed:.0f} tokens/s, {left:.0f} minutes left", flush=True)
            if self.step % preset.evaluate_every == 0 or self.step == preset.n_steps:
                self.held_out.append((self.step, self.held_out_loss()))
                print(f"step {self.step} held-out loss {self.held_out[-1][1]:.4f}", flush=True)
            if self.step % preset.save_every == 0 or self.step == preset.n_steps:
                self.save()

    def export(self, out):
        """The folder as it would lie on the hub, in bf16."""
        out.mkdir(parents=True, exist_ok=True)
        model = self.model.to("cpu", torch.bfloat16)
        model.generation_config = GenerationConfig(
            bos_token_id=self.encoder.begin,
            eos_token_id=[self.encoder.end, self.encoder.end_of_turn],
            pad_token_id=self.padding,
        )
        model.save_pretrained(out)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (out / name).write_bytes((self.work / name).read_bytes())
        (out / "loss.svg").write_bytes((self.work / "loss.svg").read_bytes())
        facts = {
            "parameters": sum(weight.numel() for weight in model.parameters()),
            "steps": self.step,
            "minutes": round(self.seconds / 60, 1),
            "device": self.device,
            "threads": torch.get_num_threads(),
            "held_out_loss": round(self.held_out[-1][1], 4),
        }
        print(json.dumps(facts, indent=2), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "stories", help="where the model goes")
    parser.add_argument("--work", type=Path, required=True, help="where the checkpoint lies, outside of the repository")
    parser.add_argument("--preset", choices=sorted(PRESETS), default="stories")
    parser.add_argument("--threads", type=int, default=0, help="processor threads; 0: as many as PyTorch takes")
    args = parser.parse_args()

    attention.register()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    if not (args.work / "tokenizer.json").exists():
        print("training the tokenizer", flush=True)
        tokenizer.write(tokenizer.train_tokenizer(), args.work)
    trainer = Trainer(PRESETS[args.preset], args.work, "cuda" if torch.cuda.is_available() else "cpu")
    print(f"{sum(weight.numel() for weight in trainer.model.parameters()):,} parameters on {trainer.device}", flush=True)
    trainer.resume()
    trainer.train()
    trainer.export(args.out)


if __name__ == "__main__":
    main()
