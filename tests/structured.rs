//! Texts that must follow a JSON schema, a regular expression or a grammar: all of them do, or the program says that they do not.
//!
//! Not here: 1,000 schemas against an independent validator, which is `tests/data/structured/validate.py`'s job and needs Python.

use infer_engine::Sampling;
use serde_json::{Map, Value, json};

use crate::util::{Dir, TestCommand, checkpoint, infer, text};

const MODEL: &str = "text-bpe";

fn run(args: &[&str]) -> TestCommand {
    infer(["--prompt", "The sea", "-c", "4000", "-n", "3000", "--model"]).args([checkpoint(MODEL)]).args(args)
}

/// Numbers that look random, by a seed: SplitMix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ x >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (x ^ x >> 31) % n
    }
}

/// A schema that nests, chooses, counts and bounds.
fn schema(dice: &mut Dice, depth: u64) -> Value {
    match dice.below(if depth == 0 { 6 } else { 9 }) {
        0 => json!({ "type": "boolean" }),
        1 => {
            let low = dice.below(200) as i64 - 100;
            json!({ "type": "integer", "minimum": low, "maximum": low + dice.below(50) as i64 })
        }
        2 => json!({ "enum": ["red", "gr\"een", 7, null, [1, 2]] }),
        3 => json!({ "type": "string", "minLength": dice.below(3), "maxLength": 3 + dice.below(5) }),
        4 => json!({ "type": "string", "pattern": "^[A-C]{2}-[0-9]+x?$", "maxLength": 9 }),
        5 => json!({ "const": { "k": [true, "v"] } }),
        6 => {
            json!({ "type": "array", "items": schema(dice, depth - 1), "minItems": dice.below(2), "maxItems": 1 + dice.below(3) })
        }
        7 => json!({ "anyOf": [schema(dice, depth - 1), { "type": "null" }, schema(dice, depth - 1)] }),
        _ => {
            let properties: Map<String, Value> =
                (0..1 + dice.below(4)).map(|i| (format!("p{i}"), schema(dice, depth - 1))).collect();
            let required: Vec<&String> = properties.keys().take(1 + dice.below(4) as usize).collect();
            json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
        }
    }
}

/// Whether `value` is valid: what the schemas above use of JSON Schema, from its specification.
fn is_valid(schema: &Value, value: &Value) -> bool {
    if let Some(all) = schema["enum"].as_array() {
        return all.contains(value);
    }
    if let Some(only) = schema.get("const") {
        return only == value;
    }
    if let Some(any) = schema["anyOf"].as_array() {
        return any.iter().any(|schema| is_valid(schema, value));
    }
    let bound = |key: &str, default: usize| schema[key].as_u64().map_or(default, |n| n as usize);
    match (schema["type"].as_str().unwrap(), value) {
        ("null", Value::Null) | ("boolean", Value::Bool(_)) => true,
        ("integer", Value::Number(n)) => {
            n.as_i64().is_some_and(|n| n >= schema["minimum"].as_i64().unwrap() && n <= schema["maximum"].as_i64().unwrap())
        }
        ("string", Value::String(text)) => {
            let n = text.chars().count();
            let is_match = |text: &str| {
                let (head, tail) = text.split_once('-').unwrap_or(("", ""));
                let digits = tail.strip_suffix('x').unwrap_or(tail);
                let is_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
                head.len() == 2 && head.bytes().all(|b| (b'A'..=b'C').contains(&b)) && is_digits
            };
            n >= bound("minLength", 0) && n <= bound("maxLength", 99) && (schema.get("pattern").is_none() || is_match(text))
        }
        ("array", Value::Array(items)) => {
            let is_long_enough = items.len() >= bound("minItems", 0) && items.len() <= bound("maxItems", 99);
            is_long_enough && items.iter().all(|item| is_valid(&schema["items"], item))
        }
        ("object", Value::Object(fields)) => {
            let has_all = schema["required"].as_array().unwrap().iter().all(|key| fields.contains_key(key.as_str().unwrap()));
            let is_known = |(key, value): (&String, &Value)| schema["properties"].get(key).is_some_and(|s| is_valid(s, value));
            has_all && fields.iter().all(is_known)
        }
        _ => false,
    }
}

#[test]
fn json_under_random_schemas_is_valid_and_whole() {
    use infer::{GenerateOptions, Grammar, TextModel};
    use std::ops::ControlFlow;

    let model = TextModel::open(checkpoint(MODEL), &Default::default()).unwrap();
    let mut n_plain = 0;
    for seed in 0..80 {
        let schema = schema(&mut Dice(seed), 3);
        let sampling = Sampling { temperature: 1.0, seed, ..Sampling::greedy() };
        let options = GenerateOptions {
            grammar: Some(Grammar::JsonSchema(schema.to_string())),
            sampling: Some(sampling),
            ctx_size: Some(4000),
            // Speculation, penalties and what else there is must not change what is allowed.
            banned: if seed % 4 == 0 { vec!["e".to_string() + &seed.to_string()] } else { Vec::new() },
            ..GenerateOptions::default()
        };
        let mut found = String::new();
        let observe = &mut |piece: &str| {
            found.push_str(piece);
            ControlFlow::Continue(())
        };
        let completion = model.generate("The sea", &options, observe).unwrap_or_else(|error| panic!("{schema}: {error}"));
        let value: Value = serde_json::from_str(&found).unwrap_or_else(|error| panic!("{schema}: {found:?}: {error}"));
        assert!(completion.is_whole && is_valid(&schema, &value), "{schema}: {found:?}");
        n_plain += u32::from(!value.is_object() && !value.is_array());
    }
    assert!(n_plain < 70, "the schemas are too simple: {n_plain}");
    assert!(!is_valid(&json!({ "type": "boolean" }), &json!(1)), "the validator can say no");
}

#[test]
fn a_regular_expression_holds_from_beginning_to_end() {
    for seed in 0..20 {
        let args = ["--temperature", "1.5", "--seed", &seed.to_string(), "--regex", "(ab|ba){2,5}[0-9]?"];
        let found = run(&args).succeeds();
        let letters = found.trim_end_matches(|c: char| c.is_ascii_digit());
        let pairs: Vec<&[u8]> = letters.as_bytes().chunks(2).collect();
        assert!((2..=5).contains(&pairs.len()) && pairs.iter().all(|pair| pair == b"ab" || pair == b"ba"), "{found:?}");
        assert!(found.len() - letters.len() <= 1, "{found:?}");
    }
}

#[test]
fn a_grammar_nests_as_it_says() {
    let dir = Dir::new();
    let file = dir.write("nest.lark", "start: pair\npair: \"(\" (pair | /[a-c]/) \")\"\n");
    for seed in 0..20 {
        let found = run(&["--temperature", "1", "--seed", &seed.to_string(), "--grammar", file.to_str().unwrap()]).succeeds();
        let n = found.len() / 2;
        let inner = found[n..=n].chars().all(|c| ('a'..='c').contains(&c));
        assert!(found.len() % 2 == 1 && inner && found[..n] == "(".repeat(n) && found[n + 1..] == ")".repeat(n), "{found:?}");
    }
}

#[test]
fn the_text_ends_where_it_may_and_only_there() {
    // Where the grammar leaves the end open, the end-of-text token takes it; where it is forbidden, the length does.
    let args = ["--temperature", "0", "--regex", "a+", "--logit-bias", "a=50"];
    let output = run(&args).args(["--ignore-eos"]).run();
    assert!(output.status.success() && text(&output.stdout).len() > 200, "{output:?}");
    // A part is no success, and says so; a whole that could go on is one.
    let line = infer(["--prompt", "x", "-n", "3", "--regex", "a{9}", "--model"]).args([checkpoint(MODEL)]).fails(1);
    assert_eq!(line, "text: expected all that its grammar demands, found a part: --max-tokens was reached");
    infer(["--prompt", "x", "-n", "3", "--ignore-eos", "--regex", "a*", "--model"]).args([checkpoint(MODEL)]).succeeds();
}

#[test]
fn bad_and_hostile_grammars_are_refused_in_one_line() {
    let deep = |open: &str, close: &str, n: usize| open.repeat(n) + &close.repeat(n);
    for (args, expected) in [
        (["--regex", "[a"], "regular expression: expected an expression that can be followed, found "),
        (["--regex", "a(?=b)"], "regular expression: expected"),
        (["--regex", &deep("(", ")", 50_000)], "found brackets nested more than 100 deep"),
        (["--json-schema", "{\"type\":"], "JSON schema: expected a schema that can be followed, found EOF while parsing"),
        (["--json-schema", "{\"type\": \"nope\"}"], "found Invalid type: nope"),
        (["--json-schema", "{\"$ref\": \"#\"}"], "found one that no text follows"),
        (["--json-schema", "{\"$ref\": \"https://example.org/schema\"}"], "JSON schema: expected"),
        (["--json-schema", "{\"type\": \"integer\", \"minimum\": 5, \"maximum\": 4}"], "JSON schema: expected"),
        (["--json-schema", "/nonexistent.json"], "/nonexistent.json: expected"),
        (["--grammar", "/nonexistent.lark"], "/nonexistent.lark: expected"),
    ] {
        let line = run(&args).fails(2);
        assert!(line.contains(expected), "{args:?}: {line}");
    }
    // Large, but no more than can be followed; or not: then it is refused.
    for regex in ["((((a{1,1000}){1,1000}){1,1000}){1,1000}){1,1000}", "(a|b)*a(a|b){60}c", "[^x]*([^x]|y)*x{5000}"] {
        let output = run(&["--regex", regex]).run();
        assert!(matches!(output.status.code(), Some(0..=2)), "{regex}: {output:?}");
    }
    let dir = Dir::new();
    for lark in ["", "start: nothing", "start: \"a\" |", "start: start", "start: start \"a\"", "start: /[/", "%import x", "\u{0}"]
    {
        let file = dir.write("bad.lark", lark);
        let line = run(&["--grammar", file.to_str().unwrap()]).run();
        assert!(matches!(line.status.code(), Some(0..=2)), "{lark:?}: {line:?}");
    }
    let line = run(&["--regex", "a", "--json-schema", "{}"]).fails(2);
    assert!(line.contains("--regex") && line.contains("--json-schema"), "{line}");
}
