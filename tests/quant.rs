//! `--quant`: the same numbers from kept weights as from new ones, and a kept file that damage, change, other starts and bad places do no harm to.
//!
//! Not here: the encoders (`kernels/tests/properties/encode.rs`) and the mix of formats (`quantize.rs`).

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use infer_kernels::{DType, Kernels, decode};
use infer_loaders::{TensorFile, TensorType, open_gguf_tensors};

use crate::gguf::MAPPED;
use crate::quantize::{opened, quantize, wide_model, wide_model_with};
use crate::util::{Dir, TestCommand, checkpoint, data, infer, shell, text, wait};

/// The text whose log-probabilities, of all tokens at all places, are compared: all logits but for a constant.
const TEXT: &str = "Once upon a time there was a little fox.";

/// What `infer score` says of all tokens with `--quant`, with the cache folder in `dir`.
fn score(model: &Path, dir: &Dir, more: &[&str]) -> TestCommand {
    let command = infer(["score", "--json", "--top", "100000", "--prompt", TEXT, "--model"]).args([model]).args(more);
    command.env("XDG_CACHE_HOME", dir.path("cache").to_str().unwrap())
}

fn scored(model: &Path, dir: &Dir, more: &[&str]) -> String {
    let output = score(model, dir, more).run();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The files in the cache folder, hidden ones too.
fn kept(dir: &Dir) -> Vec<PathBuf> {
    let folder = dir.path("cache/infer/quantised");
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

/// The one file in it.
fn only_kept(dir: &Dir) -> PathBuf {
    let [file] = &kept(dir)[..] else { panic!("expected one file, found {:?}", kept(dir)) };
    file.clone()
}

fn tensors(file: &Path) -> TensorFile {
    open_gguf_tensors(file, &MAPPED).unwrap().1
}

/// But for q8: there values and outputs of attention stay floats, of 16 bits, and down projections are multiplied by a Hadamard matrix.
#[test]
fn kept_matrices_are_what_infer_quantize_writes_and_only_the_owner_reads_them() {
    let model = wide_model(&checkpoint("text-bpe"));
    for (quant, to) in [("q8", "q8_0"), ("q4", "q4_k_m")] {
        let dir = Dir::new();
        scored(model.root(), &dir, &["--quant", quant]);
        let written = opened(&quantize(model.root(), to, &dir.path("m.gguf")));
        let file = only_kept(&dir);
        let sidecar = tensors(&file);
        let mut n = 0;
        for tensor in written.tensors().filter(|tensor| tensor.shape().len() == 2) {
            let ours = sidecar.tensor(tensor.name()).unwrap();
            n += 1;
            let is = |names: [&str; 2]| quant == "q8" && names.iter().any(|name| tensor.name().contains(name));
            assert_eq!(ours.shape(), tensor.shape(), "{quant}: {}", tensor.name());
            if is(["v_proj", "o_proj"]) {
                assert_eq!(ours.dtype(), TensorType::Weights(DType::BF16), "{}", tensor.name());
                continue;
            }
            assert_eq!(ours.dtype(), tensor.dtype(), "{quant}: {}", tensor.name());
            if is(["down_proj"; 2]) {
                let [mut ours, theirs] = [ours, tensor].map(|tensor| {
                    let mut values = vec![0.0; tensor.shape().iter().product()];
                    decode(DType::Q8_0, tensor.bytes(), &mut values);
                    values
                });
                let off = |ours: &[f32]| {
                    let squares = ours.iter().zip(&theirs).map(|(a, b)| (a - b) * (a - b));
                    squares.sum::<f32>() / theirs.iter().map(|x| x * x).sum::<f32>()
                };
                assert!(off(&ours) > 1.0, "{}: {}", tensor.name(), off(&ours));
                Kernels::detect().hadamard(&mut ours, 32);
                assert!(off(&ours) < 1e-4, "{}: {}", tensor.name(), off(&ours));
            } else {
                assert!(ours.bytes() == tensor.bytes(), "{quant}: {}", tensor.name());
            }
        }
        assert_eq!((n, sidecar.tensors().count()), (29, 29));
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }
}

/// A folder, its weights alone, and a GGUF file of the floats.
#[test]
fn logits_are_the_same_from_new_kept_and_copied_weights_of_every_kind_of_model() {
    let model = wide_model(&checkpoint("text-bpe"));
    let float = quantize(model.root(), "f32", &model.path("float.gguf"));
    for quant in ["q8", "q4"] {
        let mut all = Vec::new();
        for path in [model.root(), &model.path("model.safetensors"), &float] {
            let dir = Dir::new();
            let expected = scored(path, &dir, &["--quant", quant, "--no-cache", "--threads", "1"]);
            for more in [
                &["--no-cache"][..],
                &["--threads", "3"],
                &[],
                &["--no-mmap"],
                &["--no-mmap", "--no-cache"],
                &["--check-tensors"],
            ] {
                let found = scored(path, &dir, &[&["--quant", quant], more].concat());
                assert!(found == expected, "{quant}: {} {more:?}", path.display());
                assert_eq!(kept(&dir).len(), usize::from(more != ["--no-cache"]), "{more:?}");
            }
            all.push(expected);
        }
        // The GGUF file's tokens without a text have names of their own.
        assert!(all[0] == all[1] && all[0] != scored(model.root(), &Dir::new(), &[]), "{quant}");
    }
}

#[test]
fn matrices_that_no_format_fits_stay_floats() {
    // Rows of 200 are no whole blocks.
    let (model, dir) = (wide_model_with(&checkpoint("text-bpe"), 200), Dir::new());
    let of = |more: &[&str]| scored(model.root(), &dir, more);
    let (first, second, none) = (of(&["--quant", "q4"]), of(&["--quant", "q4"]), of(&[]));
    assert!(first == second && first != none);
    let sidecar = tensors(&only_kept(&dir));
    assert!(sidecar.tensors().count() == 25 && sidecar.tensor("model.layers.0.mlp.down_proj.weight").is_none());
    // Neither are rows of 24 and 40: nothing is left to be quantised.
    let (model, dir) = (checkpoint("text-bpe"), Dir::new());
    let output = score(&model, &dir, &["--quant", "q8"]).run();
    let said = text(&output.stderr);
    assert!(output.status.success() && said.contains("--quant: no effect") && said.lines().count() == 1, "{said}");
    assert!(text(&output.stdout) == scored(&model, &dir, &[]) && kept(&dir).is_empty());
}

#[test]
fn a_file_that_serves_is_left_alone_and_another_original_makes_another() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    let identity = || fs::metadata(only_kept(&dir)).map(|metadata| (metadata.ino(), metadata.mtime_nsec())).unwrap();
    let first = scored(model.root(), &dir, &["--quant", "q4"]);
    let before = identity();
    assert!(scored(model.root(), &dir, &["--quant", "q4"]) == first);
    // What is not asked to be kept does not touch it either.
    scored(model.root(), &dir, &["--quant", "q4", "--no-cache"]);
    scored(model.root(), &dir, &[]);
    assert_eq!(identity(), before);

    let weights = model.path("model.safetensors");
    let (mut bytes, modified) = (fs::read(&weights).unwrap(), fs::metadata(&weights).unwrap().modified().unwrap());
    // A time of change alone; another weight at the end, with a new time; one at the beginning, with the old time.
    let rewrite = |bytes: &[u8], time: Option<std::time::SystemTime>| {
        let file = fs::File::options().write(true).open(&weights).unwrap();
        std::io::Write::write_all(&mut &file, bytes).unwrap();
        file.set_modified(time.unwrap_or(modified + Duration::from_secs(60))).unwrap();
    };
    let mut last = before;
    let begin = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let end = bytes.len() - 2;
    for (at, time) in [(None, None), (Some(end), Some(modified + Duration::from_secs(90))), (Some(begin + 7), Some(modified))] {
        if let Some(at) = at {
            bytes[at] ^= 0x10;
        }
        rewrite(&bytes, time);
        let found = scored(model.root(), &dir, &["--quant", "q4"]);
        assert!(found == scored(model.root(), &dir, &["--quant", "q4", "--no-cache"]), "{at:?}");
        assert_ne!(identity(), last, "{at:?}");
        last = identity();
    }
    // In its place, not beside it.
    scored(model.root(), &dir, &["--quant", "q8"]);
    assert_eq!(kept(&dir).len(), 2);
}

#[test]
fn damaged_and_foreign_files_are_told_and_replaced() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    let expected = scored(model.root(), &dir, &["--quant", "q4"]);
    let file = only_kept(&dir);
    let good = fs::read(&file).unwrap();
    let told = |case: &str| {
        let output = score(model.root(), &dir, &["--quant", "q4"]).run();
        let said = text(&output.stderr);
        assert!(output.status.success() && text(&output.stdout) == expected, "{case}: {said}");
        assert!(only_kept(&dir) == file && fs::read(&file).unwrap() == good, "{case}");
        said
    };
    let other_file = fs::read(quantize(model.root(), "q4_k_m", &dir.path("m.gguf"))).unwrap();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let find = |text: &str| good.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let dtype_at = find("token_embd.weight") + "token_embd.weight".len() + 4 + 16;
    let cases: [(&str, Vec<u8>); 10] = [
        ("empty", Vec::new()),
        ("a byte", good[..1].to_vec()),
        ("half a header", good[..400].to_vec()),
        ("half", good[..good.len() / 2].to_vec()),
        ("without its last weight", good[..good.len() - 33].to_vec()),
        ("other magic", flipped(0)),
        ("no such key", flipped(find("infer.quantised.key"))),
        ("another tensor", flipped(find("token_embd.weight"))),
        ("another format", flipped(dtype_at)),
        ("a model that someone put there", other_file),
    ];
    for (case, bytes) in cases {
        fs::write(&file, bytes).unwrap();
        let said = told(case);
        let begin = format!("warning: {}: ", file.display());
        assert!(said.starts_with(&begin) && said.ends_with(": quantised anew\n") && said.lines().count() == 1, "{case}: {said}");
        assert_eq!(told(case), "");
    }
    // Of another version or of other weights: no damage.
    fs::write(&file, flipped(find("infer.quantised.key") + "infer.quantised.key".len() + 4 + 8 + 3)).unwrap();
    assert_eq!(told("another key"), "");
    // Every bit of the header that is no description of where the file is from.
    let begin = good.len() - tensors(&file).tensors().map(|tensor| tensor.bytes().len()).sum::<usize>();
    let original = find("infer.quantised.original");
    for at in (0..begin.min(2000)).step_by(41).filter(|at| !(original..original + 200).contains(at)) {
        fs::write(&file, flipped(at)).unwrap();
        let output = score(model.root(), &dir, &["--quant", "q4"]).run();
        assert!(output.status.success() && text(&output.stdout) == expected, "{at}: {}", text(&output.stderr));
    }
    fs::remove_file(&file).unwrap();
    symlink("nowhere", &file).unwrap();
    assert!(told("a link to nothing").contains("quantised anew"));
}

/// Places where nothing can be kept: told in one line, and done without.
#[test]
fn weights_that_cannot_be_kept_are_quantised_all_the_same() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    let expected = scored(model.root(), &dir, &["--quant", "q4", "--no-cache"]);
    let told = |case: &str, command: TestCommand| {
        let output = command.run();
        let said = text(&output.stderr);
        assert!(output.status.success() && text(&output.stdout) == expected, "{case}: {said}");
        assert!(said.starts_with("warning: ") && said.lines().count() == 1, "{case}: {said}");
        assert!(said.ends_with("(quantised weights are not kept for the next start)\n"), "{case}: {said}");
        said
    };
    let within = |path: &Path| score(model.root(), &dir, &["--quant", "q4"]).env("XDG_CACHE_HOME", path.to_str().unwrap());
    told("a file where the folder should be", within(&dir.write("file", "")));
    told("a folder that does not take files", within(Path::new("/proc/self")));
    let sealed = dir.path("sealed");
    fs::create_dir(&sealed).unwrap();
    fs::set_permissions(&sealed, fs::Permissions::from_mode(0o500)).unwrap();
    // Root may write anywhere.
    if fs::write(sealed.join("x"), "").is_err() {
        assert!(told("a read-only folder", within(&sealed)).contains("Permission denied"));
    }
    let place = "cache/infer/quantised";
    scored(model.root(), &dir, &["--quant", "q4"]);
    let file = only_kept(&dir);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(told("a folder in its place", within(&dir.path("cache"))).contains("a directory"));
    fs::remove_dir(&file).unwrap();
    // No home, and one that does not begin at the root.
    for home in ["", "relative"] {
        let command = within(Path::new("relative")).env("HOME", home);
        assert!(told(home, command).contains("XDG_CACHE_HOME or HOME"));
    }
    let script = "ulimit -f 100; trap '' XFSZ; exec \"$0\" score --json --top 100000 --prompt \"$2\" --quant q4 --model \"$1\"";
    let full = shell(script, [model.root().as_os_str(), TEXT.as_ref()]);
    told("no room", full.env("XDG_CACHE_HOME", dir.path("cache").to_str().unwrap()));
    assert_eq!(kept(&dir), Vec::<PathBuf>::new(), "{place}");
}

#[test]
fn the_folder_of_caches_is_found_as_the_specification_says() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    let home = dir.root().to_str().unwrap();
    for (cache, expected) in [("", ".cache/infer"), ("relative", ".cache/infer"), (home, "infer")] {
        score(model.root(), &dir, &["--quant", "q8"]).env("XDG_CACHE_HOME", cache).env("HOME", home).succeeds();
        let folder = dir.path(expected);
        assert_eq!(fs::read_dir(folder.join("quantised")).unwrap().count(), 1, "{cache:?}");
        fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn several_starts_at_once_make_one_file() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    let expected = scored(model.root(), &dir, &["--quant", "q4", "--no-cache"]);
    for round in 0..3 {
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert!(scored(model.root(), &dir, &["--quant", "q4"]) == expected, "{round}"));
            }
        });
        fs::remove_file(only_kept(&dir)).unwrap();
    }
}

/// What a killed start left is removed by a later one; what another is still writing is not.
#[test]
fn leftovers_are_removed_and_unfinished_files_are_not() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    scored(model.root(), &dir, &["--quant", "q4"]);
    let file = only_kept(&dir);
    let part = |number: u32| file.with_file_name(format!(".{}.{number}.part", file.file_name().unwrap().to_str().unwrap()));
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let make = |number: u32, time: Option<std::time::SystemTime>| {
        let part = fs::File::create(part(number)).unwrap();
        if let Some(time) = time {
            part.set_modified(time).unwrap();
        }
        part
    };
    drop(make(1, Some(old)));
    drop(make(2, None));
    let held = make(3, Some(old));
    held.lock().unwrap();
    fs::remove_file(&file).unwrap();
    scored(model.root(), &dir, &["--quant", "q4"]);
    let found = [1, 2, 3].map(|number| part(number).exists());
    assert_eq!(found, [false, true, true]);
}

/// Ctrl-C and termination leave neither a file nor a part of one.
#[test]
fn an_interrupted_start_keeps_nothing() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    // Eight times as many layers: long enough to be caught at it.
    let mut interrupted = 0;
    for attempt in 0..40 {
        let mut child = score(model.root(), &dir, &["--quant", "q4"]).spawn();
        let is_writing = || kept(&dir).iter().any(|path| path.extension().is_some_and(|extension| extension == "part"));
        while !is_writing() && child.try_wait().unwrap().is_none() {
            thread::sleep(Duration::from_micros(200));
        }
        let signal = if attempt % 2 == 0 { "-INT" } else { "-TERM" };
        let _ = std::process::Command::new("kill").args([signal, &child.id().to_string()]).status();
        let status = wait(&mut child).expect("it ends");
        assert!(!is_writing(), "{:?}", kept(&dir));
        if status.code() == Some(130) && kept(&dir).is_empty() {
            interrupted += 1;
        }
        kept(&dir).iter().for_each(|file| fs::remove_file(file).unwrap());
        if interrupted == 4 {
            return;
        }
    }
    panic!("interrupted {interrupted} times of 40");
}

#[test]
fn weights_of_integers_and_weights_that_are_no_numbers_are_refused() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    let integers = quantize(model.root(), "q8_0", &dir.path("m.gguf"));
    for command in [score(&integers, &dir, &["--quant", "q4"]), infer(["inspect", "--quant", "q4", "--model"]).args([&integers])]
    {
        let line = command.fails(2);
        assert!(line.starts_with(&format!("{}: tensor 'model.", integers.display())), "{line}");
        assert!(line.ends_with("expected floats, which --quant q4 quantises, found q8_0"), "{line}");
    }
    let weights = model.path("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    // Before the last norm, the values' matrix and two rows of the queries'.
    let end = bytes.len() - 4 * 256 * (1 + 128 + 2);
    bytes[end - 4..end].copy_from_slice(&f32::NAN.to_le_bytes());
    fs::write(&weights, bytes).unwrap();
    for more in [&["--quant", "q4"][..], &["--quant", "q8", "--no-cache"]] {
        let line = score(model.root(), &dir, more).fails(2);
        assert!(line.contains("expected numbers that q") && line.contains("found NaN at ["), "{line}");
        assert_eq!(kept(&dir), Vec::<PathBuf>::new());
    }
    assert!(infer(["--quant", "q5"]).fails(2).starts_with("--quant: expected q8 or q4"));
    assert!(infer(["--no-cache"]).fails(2).contains("--quant"));
}

#[test]
fn inspect_and_bench_know_of_it() {
    let (model, dir) = (wide_model(&checkpoint("text-bpe")), Dir::new());
    let inspect = |more: &[&str]| {
        let command = infer(["inspect", "--json", "--model"]).args([model.root()]).args(more);
        command.env("XDG_CACHE_HOME", dir.path("cache").to_str().unwrap()).json()
    };
    assert_eq!(inspect(&[])["quantised"], serde_json::json!([]));
    let before = inspect(&["--quant", "q8"]);
    assert_eq!((&before["quantised"][0]["kept"], &before["quantised"][0]["quant"]), (&false.into(), &"q8".into()));
    assert_eq!(kept(&dir), Vec::<PathBuf>::new(), "inspect makes nothing");
    scored(model.root(), &dir, &["--quant", "q8"]);
    let (after, plain) = (inspect(&["--quant", "q8"]), inspect(&[]));
    let path = only_kept(&dir);
    for facts in [&after, &plain] {
        assert_eq!(facts["quantised"][0]["path"], path.to_str().unwrap());
        assert_eq!(facts["quantised"][0]["kept"], true);
    }
    let text = infer(["inspect", "--quant", "q8", "--model"]).args([model.root()]);
    let text = text.env("XDG_CACHE_HOME", dir.path("cache").to_str().unwrap()).succeeds();
    let of = |name: &str| text.lines().find(|line| line.contains(name)).unwrap_or_else(|| panic!("{name} in {text}"));
    assert!(of(".down_proj.weight").contains("Q8_0, Hadamard 32") && of(".up_proj.weight").contains("Q8_0  "), "{text}");
    let weights = |facts: &serde_json::Value| facts["memory"]["weights"].as_u64().unwrap();
    assert!(weights(&after) * 3 < weights(&before) && weights(&plain) == weights(&before));
    let bench = infer(["bench", "-p", "4", "-n", "2", "-r", "1", "--probe-seconds", "0.01", "-o", "json", "--quant", "q8"]);
    let bench = bench.args(["--model".as_ref(), model.root()]).env("XDG_CACHE_HOME", dir.path("cache").to_str().unwrap()).json();
    assert!(bench[0]["model_type"].as_str().unwrap().ends_with("Q8_0"), "{bench}");
    assert_eq!(bench[0]["model_size"].as_u64(), Some(weights(&after)));
}

/// On the trained weights in the program. The bounds are the promise for 8 bits and, for 4, what was measured, with room for another text.
#[test]
fn trained_weights_stay_near_the_floats() {
    let dir = Dir::new();
    let story = data("stories").join("story.txt");
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/stories");
    let measured = |quant: &str, compute: &str| {
        let command = infer(["check", "--json", "--quant", quant, "--compute", compute, "--against"]).args([&original]);
        let command = command.args(["--text-file".as_ref(), story.as_path()]);
        command.env("XDG_CACHE_HOME", dir.path("cache").to_str().unwrap()).json()
    };
    for (quant, compute, most_nmse, most_kl) in
        [("q8", "f32", 1e-4, 2e-4), ("q8", "auto", 1e-4, 2e-4), ("q4", "f32", 1.5e-2, 2.5e-2), ("q4", "auto", 1.5e-2, 2.5e-2)]
    {
        let text = &measured(quant, compute)["text"];
        let (nmse, kl) = (text["nmse"].as_f64().unwrap(), text["mean_kl"].as_f64().unwrap());
        assert!(nmse > 0.0 && nmse <= most_nmse && kl <= most_kl, "{quant}, {compute}: {nmse:e}, {kl:e}");
    }
}
