"""Logits and greedy texts of the trained demonstration model, from transformers in float32: what its random siblings cannot show."""

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = Path(__file__).parents[3] / "models" / "stories"
STORY = "Once upon a time"
BEGINNING = "Once upon a time, in a green hollow, there lived a clever fox named Maple. One night"
QUESTIONS = [
    {"role": "user", "content": "Tell me a story about a fox and a lantern."},
    {"role": "assistant", "content": "Once upon a time, a clever fox named Maple lived in a green hollow. One night Maple found an old lantern under an oak."},
    {"role": "user", "content": "Who found the lantern?"},
]


@torch.no_grad()
def record(folder: Path):
    """`story.txt` is a text that the model ends by itself, `chat.txt` an answer to a question about the text before it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32, attn_implementation="eager").eval()

    def greedy(input_ids):
        return model.generate(input_ids, do_sample=False, max_new_tokens=300)[0]

    questions = tokenizer.apply_chat_template(QUESTIONS, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    for name, input_ids in [("story", tokenizer(STORY, return_tensors="pt").input_ids), ("chat", questions.input_ids)]:
        text = tokenizer.decode(greedy(input_ids)[input_ids.size(1) :], skip_special_tokens=True)
        (folder / f"{name}.txt").write_text(text, encoding="utf-8")
    input_ids = tokenizer(BEGINNING, return_tensors="pt").input_ids
    logits = model(input_ids).logits[0].contiguous()
    tensors = {"input_ids": input_ids[0].contiguous(), "logits": logits, "greedy_ids": greedy(input_ids)}
    save_file(tensors, folder / "reference.safetensors")
