"""Makes every fixture of this folder: python make_fixtures.py OUT [--seed-offset N] [--larger] [--only WORD]

The same seeds give the same files again. Another offset gives the same kinds with other weights and prompts, for a
check outside of the repository. See README.md for what lies where, requirements.txt for the versions.
"""

import argparse
from pathlib import Path

import torch
import transformers

from recorder import checkpoints, kinds, samplers, scores, stories, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed-offset", type=int, default=0)
    parser.add_argument("--larger", action="store_true", help="also the kinds that are too big for the repository")
    parser.add_argument("--only", default="", help="only the names that contain this word")
    args = parser.parse_args()

    torch.set_num_threads(1)  # the order of a sum depends on the number of threads
    torch.use_deterministic_algorithms(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()

    table = kinds.KINDS + (kinds.LARGER_KINDS if args.larger else [])
    for kind in table:
        if args.only in kind.name:
            folder = args.out / "checkpoints" / kind.name
            report(kind.name, folder, checkpoints.record(kind, folder, args.seed_offset), kind.tests)
    for name, make in text.FOLDERS.items():
        if args.only in name:
            folder = args.out / name
            report(name, folder, make(folder, args.seed_offset))
    if args.only in "scores":
        scores.record(args.out / "checkpoints", args.out / "scores")
        report("scores", args.out / "scores", {})
    if args.only in "stories":
        stories.record(args.out / "stories")
        report("stories", args.out / "stories", {})
    if args.only in "samplers":
        samplers.record(args.out / "samplers", args.seed_offset)
        report("samplers", args.out / "samplers", {})


def report(name, folder, measured, tests=""):
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    numbers = ", ".join(f"{k} {v:.3g}" for k, v in measured.items())
    print(f"{name:34} {size:8}  {numbers}  {tests}", flush=True)


if __name__ == "__main__":
    main()
