"""Random JSON schemas, texts that `infer --json-schema` writes under them, and the verdict of the jsonschema package.

    python validate.py INFER MODEL [N]

Prints each text that is not valid, and the counts. A text that was cut off at the context's end counts as such if infer said so with exit
code 1; the bounds of the schemas are meant to leave none. Needs the package jsonschema; no test runs this.
"""

import json
import random
import subprocess
import sys
from collections import Counter

import jsonschema

CONTEXT = 8000


def scalar(dice):
    kind = dice.randrange(10)
    if kind == 0:
        return {"type": "boolean"}
    if kind == 1:
        low = dice.randint(-10_000, 10_000)
        return {"type": "integer", "minimum": low, "maximum": low + dice.randint(0, 5_000)}
    if kind == 2:
        low = round(dice.uniform(-100, 100), 2)
        return {"type": "number", "minimum": low, "exclusiveMaximum": low + dice.choice([0.5, 1, 1000])}
    if kind == 3:
        pool = ["red", "gr\"een", "blü", 7, -0.5, None, True, [1, 2], {"a": "b"}, "", "line\nend", "\u2603"]
        return {"enum": dice.sample(pool, dice.randint(1, 5))}
    if kind == 4:
        low = dice.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + dice.randint(0, 12)}
    if kind == 5:
        patterns = ["^[A-Z]{2,3}-[0-9]{1,4}$", "^(foo|ba[rz])+$", "^\\d{3}$", "^[^aeiou]{4}$", "^a*b?c+$"]
        return {"type": "string", "pattern": dice.choice(patterns), "maxLength": 12}
    if kind == 6:
        return {"type": "string", "format": dice.choice(["date", "time", "uuid", "ipv4"])}
    if kind == 7:
        return {"const": dice.choice(["x", 1, None, {"deep": [1, {"er": False}]}])}
    if kind == 8:
        return {"type": "integer", "multipleOf": dice.choice([2, 5, 10]), "minimum": 0, "maximum": 1000}
    return {"type": dice.choice(["null", "boolean"])}


def schema(dice, depth, names):
    if depth == 0 or dice.random() < 0.25:
        return scalar(dice)
    kind = dice.randrange(7)
    if kind == 0:
        low = dice.randint(0, 2)
        return {"type": "array", "items": schema(dice, depth - 1, names), "minItems": low, "maxItems": low + dice.randint(0, 3)}
    if kind == 1:
        parts = [schema(dice, depth - 1, names) for _ in range(dice.randint(1, 3))]
        return {"type": "array", "prefixItems": parts, "items": False, "minItems": len(parts)}
    if kind == 2:
        return {"anyOf": [schema(dice, depth - 1, names) for _ in range(dice.randint(2, 4))]}
    if kind == 3 and names:
        return {"$ref": "#/$defs/" + dice.choice(names)}
    if kind == 4:
        return {"type": ["integer", "null"], "minimum": 0, "maximum": dice.randint(0, 99)}
    properties = {f"{dice.choice(['a', 'key', 'naïve', 'x y'])}{i}": schema(dice, depth - 1, names) for i in range(dice.randint(1, 5))}
    required = dice.sample(list(properties), dice.randint(0, len(properties)))
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def whole(seed):
    dice = random.Random(seed)
    names = [f"part{i}" for i in range(dice.randint(0, 2))]
    top = schema(dice, 4, names)
    if names:
        top = dict(top, **{"$defs": {name: schema(dice, 2, []) for name in names}})
    return top


def main():
    infer, model, n = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 1000
    verdicts, n_bytes = Counter(), 0
    for seed in range(n):
        wanted = whole(seed)
        command = [infer, "--model", model, "--prompt", "Once", "--temperature", "1", "--seed", str(seed), "-c", str(CONTEXT)]
        done = subprocess.run(command + ["--json-schema", json.dumps(wanted)], capture_output=True)
        text = done.stdout.decode()
        n_bytes += len(text)
        verdict = "valid"
        if done.returncode == 1 and b"expected all that its grammar demands" in done.stderr:
            verdict = "cut off, and said so"
        elif done.returncode != 0:
            verdict = "refused"
        else:
            try:
                jsonschema.Draft202012Validator(wanted).validate(json.loads(text))
            except (json.JSONDecodeError, jsonschema.ValidationError) as error:
                verdict = f"not valid: {type(error).__name__}"
        verdicts[verdict] += 1
        if verdict != "valid":
            print(seed, verdict, json.dumps(wanted), text[:300], done.stderr.decode()[-300:], sep="\n  ")
    print(f"{n} schemas, {n_bytes} characters of text:", dict(verdicts))


if __name__ == "__main__":
    main()
