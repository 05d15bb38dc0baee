//! The flags that choose tokens beyond temperature and its like, and that forbid strings, through the binary.
//!
//! Not here: what each step keeps, which the engine's own tests compare with definitions and with transformers.

use crate::util::{TestCommand, assert_same_text, checkpoint, infer};

const MODEL: &str = "text-bpe";

fn run(args: &[&str]) -> TestCommand {
    infer(["--prompt", "The sea", "--ignore-eos", "--model"]).args([checkpoint(MODEL)]).args(args)
}

fn sample_at(temperature: &str, args: &[&str]) -> String {
    run(&["-n", "24", "--temperature", temperature, "--seed", "4", "--top-k", "0"]).args(args).succeeds()
}

fn sample(args: &[&str]) -> String {
    sample_at("1.2", args)
}

#[test]
fn every_step_takes_part_and_its_neutral_value_takes_none() {
    let plain = sample(&[]);
    for (off, on) in [
        (&["--typical-p", "1"][..], &["--typical-p", "0.2"][..]),
        (&["--top-n-sigma", "0"], &["--top-n-sigma", "0.5"]),
        (&["--xtc-probability", "0"], &["--xtc-probability", "1", "--xtc-threshold", "0.001"]),
        (&["--logit-bias", "40=0"], &["--logit-bias", "40=100"]),
        (&["--samplers", "penalties;dry;top_n_sigma;temperature;top_k;top_p;min_p;typ_p;xtc"], &["--samplers", "top_k"]),
    ] {
        assert_same_text(&plain, &sample(off));
        let found = sample(on);
        assert_ne!(plain, found, "{on:?}");
        assert_same_text(&found, &sample(on));
    }
    // DRY has something to do where the text repeats itself: here a bias makes it.
    let repeat = |args: &[&str]| run(&["-n", "8", "--temperature", "0", "--logit-bias", "e=100"]).args(args).succeeds();
    assert_eq!(repeat(&["--dry-multiplier", "0", "--dry-base", "3"]), "e".repeat(8));
    assert!(repeat(&["--dry-multiplier", "200"]).starts_with("eee") && repeat(&["--dry-multiplier", "200"]) != "e".repeat(8));
    assert_eq!(repeat(&["--dry-multiplier", "200", "--dry-sequence-breaker", "e"]), "e".repeat(8));
    // In several tokens, too: what came before the last of them is no part of a repetition.
    assert_eq!(repeat(&["--dry-multiplier", "200", "--dry-sequence-breaker", "ee"]), "e".repeat(8));
    assert_eq!(repeat(&["--dry-multiplier", "200", "--dry-sequence-breaker", "xe"]), repeat(&["--dry-multiplier", "200"]));
    assert_eq!(repeat(&["--dry-multiplier", "200", "--dry-penalty-last-n", "1"]), "e".repeat(8));
    // A step that is not in the chain does nothing.
    assert_same_text(&sample(&["--samplers", "temperature"]), &sample(&["--samplers", "temperature", "--min-p", "0.9"]));
}

#[test]
fn the_order_of_the_steps_is_the_callers() {
    // At this temperature the likeliest tokens are nearly alike: what top-p keeps depends on which comes first.
    let order = |order| sample_at("30", &["--top-p", "0.5", "--samplers", order]);
    assert_ne!(order("top_p;temperature"), order("temperature;top_p"));
    let default = "penalties;dry;top_n_sigma;temperature;top_k;top_p;min_p;typ_p;xtc";
    assert_same_text(&order(default), &sample_at("30", &["--top-p", "0.5"]));
}

#[test]
fn a_bias_is_for_a_token_or_for_those_of_a_text() {
    let greedy = |n: &str, args: &[&str]| run(&["--temperature", "0", "-n", n]).args(args).succeeds();
    let ids =
        |text: &str| infer(["tokenize", "--json", "--no-special", "--text", text, "--model"]).args([checkpoint(MODEL)]).json();
    let id = ids("e")["ids"][0].to_string();
    assert_eq!(greedy("24", &["--logit-bias", &format!("{id}=1000")]), "e".repeat(24));
    assert_eq!(greedy("24", &["--logit-bias", "e=1000"]), "e".repeat(24));
    assert!(!greedy("1", &["--logit-bias", "e=1000", "--logit-bias", "e=-inf"]).starts_with('e'));
}

#[test]
fn a_banned_string_does_not_come_up_and_what_is_before_it_stays() {
    let greedy = |args: &[&str]| run(&["--temperature", "0", "-n", "40"]).args(args).succeeds();
    let plain = greedy(&[]);
    let chars: Vec<char> = plain.chars().collect();
    for (from, n) in [(3, 1), (5, 3), (10, 8), (0, 2)] {
        let banned: String = chars[from..from + n].iter().collect();
        let found = greedy(&["--ban", &banned]);
        assert!(!found.contains(&banned), "{banned:?} in {found:?}");
        let common = plain.chars().zip(found.chars()).take_while(|(a, b)| a == b).count();
        // It begins where the banned string first comes up, or with the token that holds its beginning.
        let begin = plain[..plain.find(&banned).unwrap()].chars().count();
        assert!(common <= begin + n && common + 12 >= begin, "{banned:?}: parts at {common} and not {begin}");
    }
    assert_same_text(&plain, &greedy(&["--ban", "a string that does not come up"]));
    // Sampled text, too; the draw of a place stays that of the place.
    let sampled = sample(&[]);
    let banned: String = sampled.chars().skip(10).take(3).collect();
    let found = sample(&["--ban", &banned]);
    assert!(!found.contains(&banned), "{banned:?} in {found:?}");
}

#[test]
fn bad_values_are_refused_by_flag() {
    for (args, line) in [
        (["--typical-p", "-0.1"], "--typical-p: expected a number from 0 to 1, found -0.1"),
        (["--top-n-sigma", "-1"], "--top-n-sigma: expected a finite number >= 0, found -1"),
        (["--xtc-probability", "2"], "--xtc-probability: expected a number from 0 to 1, found 2"),
        (["--xtc-threshold", "-2"], "--xtc-threshold: expected a number above 0, up to 1, found -2"),
        (["--dry-multiplier", "-1"], "--dry-multiplier: expected a finite number >= 0, found -1"),
        (["--dry-base", "0.5"], "--dry-base: expected a finite number >= 1, found 0.5"),
        (["--dry-allowed-length", "-1"], "--dry-allowed-length: expected a whole number, 0 or more, found \"-1\""),
        (["--dry-sequence-breaker", ""], "--dry-sequence-breaker: expected at least one character, found an empty string"),
        (["--logit-bias", "1=NaN"], "--logit-bias: expected a token's id or a text, =, and a number or -inf, found \"1=NaN\""),
        (["--logit-bias", "999999=1"], "--logit-bias: expected a token id below 368, found 999999"),
        (["--ban", ""], "--ban: expected at least one character, found an empty string"),
    ] {
        assert_eq!(run(&args).fails(2), line);
    }
    assert!(run(&["--samplers", "top_q"]).fails(2).starts_with("--samplers: expected names out of penalties;dry;"));
}
