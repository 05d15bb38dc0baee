"""Prints stories and conversations, or counts what the generator can do.

python -m stories 7             the story of seed 7
python -m stories 7 --chat      the conversation of seed 7
python -m stories --count 100000
"""

import argparse
import re
import time

from . import SCHEMAS, conversation, lexicon, story
from .characters import ALL_NAMES, HELPERS, HEROES, PEOPLE
from .things import SPOTS, THINGS


def count(n):
    """Plots, names, words, repetitions and speed over n stories, as lines of text."""
    started = time.process_time()
    texts = [story(seed).text for seed in range(n)]
    seconds = time.process_time() - started
    words = {word.lower() for text in texts for word in re.findall(r"[A-Za-z][A-Za-z'-]*", text)}
    sentences = [sentence for text in texts for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z\"])", text)]
    settings = {part.split("|")[1].strip() for row in lexicon.WORLDS.values() for part in row["settings"].split(";")}
    spots = {spot for both in SPOTS.values() for some in both for spot in some}
    lengths = sorted(len(text.split()) for text in texts)
    return [
        f"plots: {len(SCHEMAS)}",
        f"names: {len(ALL_NAMES)}; kinds of animals: {len(HEROES) + len(HELPERS)}; trades of people: {len(PEOPLE)}",
        f"things: {len(THINGS)}; places: {len(settings)} settings and {len(spots)} spots in them",
        f"distinct words: {len(words)}",
        f"stories that an earlier one equals: {n - len(set(texts))} of {n}",
        f"sentences that an earlier one equals: {100 * (1 - len(set(sentences)) / len(sentences)):.1f} % of {len(sentences)}",
        f"words per story: median {lengths[n // 2]}, 5 % below {lengths[n // 20]}, 5 % above {lengths[-n // 20]}",
        f"speed: {n / seconds:.0f} stories in a second, {sum(lengths) / seconds:.0f} words",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int, nargs="?", default=0)
    parser.add_argument("--chat", action="store_true")
    parser.add_argument("--count", type=int, metavar="N")
    args = parser.parse_args()
    if args.count:
        print("\n".join(count(args.count)))
    elif args.chat:
        print("\n\n".join(f"{turn.role}: {turn.content}" for turn in conversation(args.seed)))
    else:
        print(story(args.seed).text)


if __name__ == "__main__":
    main()
