"""English on the level of letters and words: articles, capitals, templates.

It knows nothing of stories, characters or things; what a reference such as `{a.he}` stands for is the teller's business.
"""

import re

# Spelling and sound part company here; everything else goes by its first letter.
_SOUNDS_LIKE_CONSONANT = re.compile(r"(uni|use|usu|eu|one\b|once\b|ukulele)", re.IGNORECASE)
_SOUNDS_LIKE_VOWEL = re.compile(r"(hour|honest|heir)", re.IGNORECASE)

_CHOICE = re.compile(r"\[([^\[\]]*)\]")
_REFERENCE = re.compile(r"\{(\w+)(?:\.(\w+))?\}")
_AFTER_A_FULL_STOP = re.compile(r"([.!?] |\.\" )([a-z])")


def with_article(phrase):
    """`apple` -> `an apple`, `red apple` -> `a red apple`."""
    if _SOUNDS_LIKE_VOWEL.match(phrase):
        return "an " + phrase
    if phrase[0].lower() in "aeiou" and not _SOUNDS_LIKE_CONSONANT.match(phrase):
        return "an " + phrase
    return "a " + phrase


def capitalise(text):
    """The first letter as a capital, behind an opening quotation mark too."""
    start = 1 if text.startswith('"') else 0
    return text[:start] + text[start : start + 1].upper() + text[start + 1 :]


def sentences_capitalised(text):
    """Capitals at the start of the text and after each full stop. After `!"` and `?"` the sentence may go on, so the
    template says itself, with `{A}` or `{a.He}`, where a new one begins."""
    return _AFTER_A_FULL_STOP.sub(lambda match: match.group(1) + match.group(2).upper(), capitalise(text))


def choose(template, rng):
    """Settle every `[this|that|]`, the innermost first."""
    while True:
        match = _CHOICE.search(template)
        if match is None:
            return template
        option = rng.choice(match.group(1).split("|"))
        template = template[: match.start()] + option + template[match.end() :]


def fill(template, resolve):
    """Replace each `{key.form}` by `resolve(key, form, is_start)`, from left to right. A form or a key that begins
    with a capital asks for a capitalised answer. `is_start`: the reference opens a sentence outside of quotation marks."""
    pieces, end = [], 0
    for match in _REFERENCE.finditer(template):
        pieces.append(template[end : match.start()])
        before = template[: match.start()]
        is_start = (before == "" or before.endswith((". ", "! ", "? ", '." '))) and before.count('"') % 2 == 0
        key, form = match.group(1), match.group(2) or ""
        wants_capital = key[0].isupper() or form[:1].isupper()
        text = resolve(key[0].lower() + key[1:], form[:1].lower() + form[1:], is_start)
        pieces.append(capitalise(text) if wants_capital else text)
        end = match.end()
    pieces.append(template[end:])
    return "".join(pieces)


def listed(words):
    """`a, b and c`."""
    words = list(words)
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
