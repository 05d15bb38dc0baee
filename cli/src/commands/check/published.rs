//! `infer check --published`: means and first logits against values that were published for the checkpoint.

use infer_engine::Config;
use infer_loaders::Checkpoint;
use serde_json::json;

use crate::args::CheckArgs;
use crate::commands;
use crate::published::{Published, Tolerance, Variant};
use crate::report::{self, Failure};

/// What is kept of our logits: each position's mean over the vocabulary, and the first logits of position 0.
struct Ours {
    means: Vec<f64>,
    first_logits: Vec<f64>,
}

/// The agreement of a list of values with the published ones.
struct Agreement {
    n: usize,
    n_within: usize,
    /// The largest difference and its index.
    worst: (f64, usize),
}

/// Prints the embedded references.
pub fn list(as_json: bool) -> Result<(), Failure> {
    let all = Published::all()?;
    if as_json {
        let entry = |p: &Published| {
            let variants: Vec<_> =
                p.variants.iter().map(|v| json!({ "name": v.name, "source": v.source, "note": v.note })).collect();
            json!({ "name": p.name, "checkpoint": p.hub_id, "note": p.note, "variants": variants })
        };
        return report::print_json(&json!({ "published": all.iter().map(entry).collect::<Vec<_>>() }));
    }
    let row = |p: &Published| {
        let variants: Vec<&str> = p.variants.iter().map(|variant| variant.name.as_str()).collect();
        vec![p.name.clone(), p.hub_id.clone(), variants.join(", ")]
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    report::print(&report::table(&["name", "checkpoint", "recorded in"], &rows, 3))
}

/// Runs the command. `name`: a reference's name or file; empty picks those whose sizes are the model's.
pub fn run(args: &CheckArgs, name: &str) -> Result<(), Failure> {
    let (checkpoint, model) = super::open(args)?;
    let references = pick(name, &checkpoint)?;
    let mut pass = false;
    let mut reports = Vec::new();
    let mut text = format!(
        "model:   {}\nengine:  {}\n",
        report::escape(&checkpoint.path().display().to_string()),
        commands::describe_engine(&model)
    );
    for reference in &references {
        check_ids(reference, model.config())?;
        let n_first = reference.variants.iter().map(|variant| variant.first_logits.len()).max().unwrap_or(0);
        let mut ours = Ours { means: Vec::new(), first_logits: Vec::new() };
        super::for_each_row(args, (&checkpoint, &model), &reference.input_ids, |position, logits| {
            ours.means.push(logits.iter().map(|&logit| f64::from(logit)).sum::<f64>() / logits.len() as f64);
            if position == 0 {
                ours.first_logits.extend(logits.iter().take(n_first).map(|&logit| f64::from(logit)));
            }
            Ok(())
        })?;
        text.push_str(&format!("\n{} ({})\n", reference.name, reference.hub_id));
        for variant in &reference.variants {
            let means = Agreement::new(&variant.means, &ours.means, variant.means_tolerance);
            let first = Agreement::new(&variant.first_logits, &ours.first_logits, variant.first_logits_tolerance);
            let is_met = means.is_full() && first.is_full();
            pass |= is_met;
            reports.push(json!({
                "name": reference.name, "checkpoint": reference.hub_id, "variant": variant.name, "source": variant.source,
                "means": means.to_json(), "first_logits": first.to_json(), "pass": is_met,
            }));
            describe(&mut text, variant, &ours, (&means, &first));
        }
        if let Some(note) = &reference.note {
            text.push_str(&format!("  note: {note}\n"));
        }
    }
    match args.json {
        true => report::print_json(&json!({
            "published": reports,
            "compute": model.compute().to_string(), "kv_dtype": model.kv_dtype().name(),
            "isa": model.isa().to_string(), "threads": model.n_threads(), "pass": pass,
        }))?,
        false => report::print(&text)?,
    }
    match pass {
        true => Ok(()),
        false => Err(Failure::check(format!(
            "{}: check failed: no published variant of {} is met",
            checkpoint.path().display(),
            references.iter().map(|reference| reference.name.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The named reference, which must fit the model, or all that do. Base and fine-tuned checkpoints have the same sizes: the values tell
/// which it is, so one that is met is enough.
fn pick(name: &str, checkpoint: &Checkpoint) -> Result<Vec<Published>, Failure> {
    if !name.is_empty() {
        let reference = Published::named(name)?;
        reference.fits(checkpoint.config())?;
        return Ok(vec![reference]);
    }
    let fitting: Vec<Published> = Published::all()?.into_iter().filter(|p| p.fits(checkpoint.config()).is_ok()).collect();
    match fitting.is_empty() {
        false => Ok(fitting),
        true => Err(Failure::input(format!(
            "{}: expected a model that logits are published for (see 'infer check --published list'), found none of its sizes",
            checkpoint.config().path().display()
        ))),
    }
}

fn check_ids(reference: &Published, config: &Config) -> Result<(), Failure> {
    match reference.input_ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        Some(id) => Err(Failure::input(format!(
            "{}: field 'input_ids': expected token ids below the model's vocabulary {}, found {id}",
            reference.name, config.vocab_size
        ))),
        None => Ok(()),
    }
}

/// Appends what the comparison with one variant shows.
fn describe(text: &mut String, variant: &Variant, ours: &Ours, (means, first): (&Agreement, &Agreement)) {
    let verdict = if means.is_full() && first.is_full() { "met" } else { "not met" };
    text.push_str(&format!("\n  {}: {verdict}\n  source: {}\n", variant.name, variant.source));
    let row = |name: &str, position: String, (published, ours): (f64, f64), tolerance: Tolerance| {
        let within = if tolerance.allows(published, ours) { "yes" } else { "NO" };
        let difference = (ours - published).abs();
        vec![
            format!("  {name}"),
            position,
            format!("{published:.4}"),
            format!("{ours:.4}"),
            format!("{difference:.1e}"),
            within.to_string(),
        ]
    };
    let mut rows = Vec::new();
    for (position, pair) in variant.means.iter().copied().zip(ours.means.iter().copied()).enumerate() {
        rows.push(row("mean", position.to_string(), pair, variant.means_tolerance));
    }
    for (token, pair) in variant.first_logits.iter().copied().zip(ours.first_logits.iter().copied()).enumerate() {
        rows.push(row("logit", format!("0, {token}"), pair, variant.first_logits_tolerance));
    }
    text.push_str(&report::table(&["  value", "at", "published", "ours", "|diff|", "within"], &rows, 1));
    if let Some(note) = &variant.note {
        text.push_str(&format!("  note: {note}\n"));
    }
}

impl Agreement {
    fn new(published: &[f64], ours: &[f64], tolerance: Tolerance) -> Agreement {
        let pairs = || published.iter().copied().zip(ours.iter().copied());
        let n_within = pairs().filter(|&(p, o)| tolerance.allows(p, o)).count();
        let differences = pairs().enumerate().map(|(index, (p, o))| ((p - o).abs(), index));
        let worst = differences.max_by(|(a, _), (b, _)| a.total_cmp(b)).unwrap_or((0.0, 0));
        Agreement { n: published.len(), n_within, worst }
    }

    fn is_full(&self) -> bool {
        self.n == self.n_within
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "values": self.n, "within": self.n_within, "max_abs_err": self.worst.0, "worst": self.worst.1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_values_within_the_tolerance_and_finds_the_worst() {
        let tolerance = Tolerance { absolute: 0.01, relative: 0.01 };
        let agreement = Agreement::new(&[1.0, -10.0, 0.0], &[1.019, -10.2, 0.0], tolerance);
        assert_eq!((agreement.n, agreement.n_within, agreement.worst.1), (3, 2, 1));
        assert!(!agreement.is_full());
        // More published values than the vocabulary has: what is missing does not agree.
        assert!(!Agreement::new(&[1.0, 2.0], &[1.0], tolerance).is_full());
        assert!(Agreement::new(&[], &[], tolerance).is_full());
    }
}
