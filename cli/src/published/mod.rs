//! Logits that the makers of a reference implementation published for well-known checkpoints, one JSON file for each checkpoint.
//!
//! A file names the checkpoint, the sizes in `config.json` that it is known by, the input, and one or more variants: the values as
//! published for a dtype and a machine, with their tolerance (formats.md section 6). Not here: the comparison (`commands/check`).

use std::path::Path;

use infer_loaders::{LoadError, Metadata};

use crate::report::Failure;

/// The embedded files: (name, text).
const FILES: &[(&str, &str)] = &[
    ("llama-2-7b", include_str!("llama-2-7b.json")),
    ("llama-2-13b", include_str!("llama-2-13b.json")),
    ("llama-2-13b-chat", include_str!("llama-2-13b-chat.json")),
    ("llama-2-70b", include_str!("llama-2-70b.json")),
    ("mistral-7b-v0.1", include_str!("mistral-7b-v0.1.json")),
    ("qwen2-0.5b", include_str!("qwen2-0.5b.json")),
    ("qwen3-0.6b-base", include_str!("qwen3-0.6b-base.json")),
];

/// The published logits of one checkpoint.
#[derive(Debug)]
pub struct Published {
    /// What `--published NAME` takes.
    pub name: String,
    /// The checkpoint's name on the hub.
    pub hub_id: String,
    /// What one should know before trusting a match or a mismatch.
    pub note: Option<String>,
    /// The input tokens.
    pub input_ids: Vec<u32>,
    /// The values, as published for several dtypes and machines; at least one.
    pub variants: Vec<Variant>,
    // Keys of config.json and the values that they have in this checkpoint.
    architecture: Metadata,
}

/// Values published for one dtype and machine.
#[derive(Debug)]
pub struct Variant {
    /// Name among the checkpoint's variants.
    pub name: String,
    /// Where the values were published.
    pub source: String,
    /// What one should know about the values.
    pub note: Option<String>,
    /// For each position the mean of the logits over the vocabulary.
    pub means: Vec<f64>,
    /// How near ours must be to `means`.
    pub means_tolerance: Tolerance,
    /// The first logits of position 0; may be empty.
    pub first_logits: Vec<f64>,
    /// How near ours must be to `first_logits`.
    pub first_logits_tolerance: Tolerance,
}

/// `|ours - published| <= absolute + relative * |published|`, as `torch.testing.assert_close` has it.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// The part that does not depend on the value.
    pub absolute: f64,
    /// The part in proportion to the value.
    pub relative: f64,
}

impl Tolerance {
    /// Whether `ours` is near enough to `published`.
    pub fn allows(&self, published: f64, ours: f64) -> bool {
        (ours - published).abs() <= self.absolute + self.relative * published.abs()
    }
}

impl Published {
    /// Every embedded reference, in the order of the list.
    pub fn all() -> Result<Vec<Published>, LoadError> {
        FILES.iter().map(|(name, text)| Published::embedded(name, text)).collect()
    }

    /// The reference called `name`, or the one in the file `name` where that is a path to a `.json` file.
    pub fn named(name: &str) -> Result<Published, Failure> {
        if name.ends_with(".json") {
            let path = Path::new(name);
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            return Ok(Published::parse(&stem, Metadata::read(path)?)?);
        }
        match FILES.iter().find(|(known, _)| *known == name) {
            Some((name, text)) => Ok(Published::embedded(name, text)?),
            None => Err(Failure::input(format!(
                "--published: expected list, a .json file, or one of {}, found {name:?}",
                FILES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
            ))),
        }
    }

    fn embedded(name: &str, text: &str) -> Result<Published, LoadError> {
        Published::parse(name, Metadata::parse(Path::new(&format!("{name}.json")), text.as_bytes())?)
    }

    /// Whether `config` has the sizes that the checkpoint is known by; the error names the first that differs.
    pub fn fits(&self, config: &Metadata) -> Result<(), LoadError> {
        for key in self.architecture.keys() {
            // transformers: as many key-value heads as heads, unless said otherwise.
            let fallback = if key == "num_key_value_heads" { config.get("num_attention_heads") } else { None };
            if let Some(expected) = self.architecture.get(key)
                && config.get(key).or(fallback) != Some(expected)
            {
                return Err(config.error(key, format_args!("{expected} as in {}", self.hub_id)));
            }
        }
        Ok(())
    }

    fn parse(name: &str, json: Metadata) -> Result<Published, LoadError> {
        let input_ids = required(&json, "input_ids", "token ids", json.ids("input_ids")?)?;
        let variants = required(&json, "variants", "an object", json.object("variants")?)?;
        let variant =
            |name: &str| Variant::parse(name, required(&variants, name, "an object", variants.object(name)?)?, input_ids.len());
        Ok(Published {
            name: name.to_string(),
            hub_id: required(&json, "hub_id", "a string", json.text("hub_id")?)?.to_string(),
            note: json.text("note")?.map(str::to_string),
            variants: variants.keys().map(variant).collect::<Result<_, _>>()?,
            architecture: required(&json, "architecture", "an object", json.object("architecture")?)?,
            input_ids,
        })
    }
}

impl Variant {
    fn parse(name: &str, json: Metadata, n_positions: usize) -> Result<Variant, LoadError> {
        let means = required(&json, "means", "numbers", json.numbers("means")?)?;
        if means.len() != n_positions {
            return Err(json.error("means", format_args!("{n_positions} numbers, one for each of input_ids")));
        }
        Ok(Variant {
            name: name.to_string(),
            source: required(&json, "source", "a string", json.text("source")?)?.to_string(),
            note: json.text("note")?.map(str::to_string),
            means,
            means_tolerance: Tolerance::parse(&json, "means_tolerance")?,
            first_logits: json.numbers("first_logits")?.unwrap_or_default(),
            first_logits_tolerance: Tolerance::parse(&json, "first_logits_tolerance")?,
        })
    }
}

impl Tolerance {
    fn parse(json: &Metadata, key: &str) -> Result<Tolerance, LoadError> {
        let json = required(json, key, "an object", json.object(key)?)?;
        let part = |key| match json.number(key)? {
            Some(part) if part >= 0.0 => Ok(part),
            _ => Err(json.error(key, "a number, 0 or more")),
        };
        Ok(Tolerance { absolute: part("atol")?, relative: part("rtol")? })
    }
}

/// The value of a key that must be there.
fn required<T>(json: &Metadata, key: &str, expected: &str, value: Option<T>) -> Result<T, LoadError> {
    value.ok_or_else(|| json.error(key, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_in_the_folder_is_embedded_and_reads_well() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/published");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| Some(entry.unwrap().file_name().to_str()?.strip_suffix(".json")?.to_string()))
            .collect();
        let all = Published::all().unwrap();
        assert!(all.iter().all(|published| !published.variants.is_empty() && !published.input_ids.is_empty()));
        let mut embedded: Vec<String> = all.into_iter().map(|published| published.name).collect();
        files.sort();
        embedded.sort();
        assert_eq!(embedded, files);
    }

    #[test]
    fn a_wrong_file_is_refused_by_field() {
        let good = FILES[0].1;
        for (from, to, line) in [
            ("\"hub_id\"", "\"hub\"", "field 'hub_id': expected a string, found nothing"),
            (
                "\"input_ids\": [1,",
                "\"input_ids\": [-1,",
                "field 'input_ids': expected a token id or an array of token ids, found an array of 8 items",
            ),
            (
                "\"means\": [-6.6544,",
                "\"means\": [",
                "field 'variants.float16-a100.means': expected 8 numbers, one for each of input_ids, found an array of 7 items",
            ),
            (
                "\"rtol\": 0.01",
                "\"rtol\": -1",
                "field 'variants.float16-a100.means_tolerance.rtol': expected a number, 0 or more, found -1",
            ),
        ] {
            assert!(good.contains(from), "{from}");
            let json = Metadata::parse(Path::new("x.json"), good.replacen(from, to, 1).as_bytes()).unwrap();
            assert_eq!(Published::parse("x", json).unwrap_err().to_string(), format!("x.json: {line}"));
        }
    }
}
