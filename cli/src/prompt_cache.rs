//! `PromptCache`: the file of `--prompt-cache`, in which one run keeps what it has read for the next.
//!
//! It is a safetensors file: `identity` says what the rest was made with, `tokens` are the tokens read, `pages` their keys and values as the
//! engine lays them out, `checksums` one for each page and one for identity and tokens. A file of other making is refused and never
//! overwritten. One that was made with another model, program or setting, or that is damaged, is told and replaced. Not here: what a page
//! holds (the engine), and the syntax and bounds of the file (the loaders).

use std::env;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use infer::{Session, TextModel};
use infer_engine::PAGE_LEN;
use infer_loaders::{LoadError, OpenOptions, Tensor, TensorFile, open_safetensors};
use serde_json::json;

use crate::fingerprint;
use crate::output_file::OutputFile;
use crate::report::{self, Failure};

/// How a file of this kind begins, after the header's length.
const BEGINNING: &str = r#"{"__metadata__":{"format":"infer prompt cache"#;

/// What must be the same, in the order of `identity`.
const PARTS: [&str; 3] = ["model", "program", "instruction set, arithmetic or layout"];

/// A cache file and what it must have been made with.
pub struct PromptCache<'m> {
    path: PathBuf,
    model: &'m TextModel,
    identity: [i64; PARTS.len()],
    page_name: String,
    /// Tokens of the file; none if it is to be replaced.
    held: Vec<u32>,
}

impl<'m> PromptCache<'m> {
    /// Checks that the file is one that may be read and written, as far as can be seen before the model is opened.
    ///
    /// # Errors
    /// If something else is there, or it cannot be read, or its folder is not there.
    pub fn check(path: &Path) -> Result<(), Failure> {
        let refuse = |found: &str| Err(Failure::input(format!("{}: expected a prompt cache, found {found}", path.display())));
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let missing = || refuse(&format!("no folder {}", folder.display()));
                return if folder.is_dir() && path.file_name().is_some() { Ok(()) } else { missing() };
            }
            Err(error) => return refuse(&error.to_string()),
        };
        match file.metadata() {
            Ok(metadata) if metadata.is_dir() => return refuse("a directory"),
            Ok(metadata) if !metadata.is_file() => return refuse("something that is no file"),
            // As mktemp makes one.
            Ok(metadata) if metadata.len() == 0 => return Ok(()),
            _ => {}
        }
        let mut start = Vec::new();
        file.take(8 + BEGINNING.len() as u64).read_to_end(&mut start).map_err(|error| Failure::read(path.display(), &error))?;
        if start.get(8..).is_some_and(|start| start == BEGINNING.as_bytes()) {
            return Ok(());
        }
        refuse("a file of another kind, which is left alone")
    }

    /// The cache at `path` for runs of `model`. Reads all weights, to know them again.
    pub fn new(path: &Path, model: &'m TextModel) -> PromptCache<'m> {
        let engine = model.model();
        let page_name = Session::new(engine).page_name();
        let shape = format!("{:?}", engine.config());
        let program = env::current_exe().and_then(File::open).and_then(|file| fingerprint::of_reader(BufReader::new(file)));
        let identity = [
            fingerprint::of_model(&shape, model.checkpoint(), engine.n_threads()),
            // Another build may round otherwise.
            program.unwrap_or_else(|_| fingerprint::of_bytes(env!("CARGO_PKG_VERSION").as_bytes())),
            fingerprint::of_bytes(page_name.as_bytes()),
        ];
        PromptCache { path: path.to_owned(), model, identity: identity.map(u64::cast_signed), page_name, held: Vec::new() }
    }

    /// What the file holds of `prompt`, but for its last token, whose logits are wanted; `None` if that is nothing. Warns of a file that
    /// cannot be used.
    pub fn restore(&mut self, prompt: &[u32]) -> Option<Session<'m>> {
        if std::fs::metadata(&self.path).map_or(true, |metadata| metadata.len() == 0) {
            return None;
        }
        match self.read(prompt) {
            Ok(Ok(session)) => session,
            Ok(Err(part)) => {
                report::warn(&format!("{}: made with another {part}: reading the prompt anew", self.path.display()));
                None
            }
            Err(error) => {
                report::warn(&format!("{}: reading the prompt anew", Failure::from(error).line()));
                None
            }
        }
    }

    /// The session; or what is not the same.
    fn read(&mut self, prompt: &[u32]) -> Result<Result<Option<Session<'m>>, &'static str>, LoadError> {
        let file = open_safetensors(&self.path, &OpenOptions::default())?;
        let identity = required(&file, "identity")?.to_i64()?;
        if identity.len() != PARTS.len() {
            return Ok(Err("version of this format"));
        }
        if let Some((part, _)) = PARTS.iter().zip(identity.iter().zip(&self.identity)).find(|(_, (a, b))| a != b) {
            return Ok(Err(part));
        }
        let (tokens, checksums, pages) = (required(&file, "tokens")?, required(&file, "checksums")?, required(&file, "pages")?);
        let (ids, sums) = (tokens.to_i64()?, checksums.to_i64()?);
        let n_pages = ids.len().div_ceil(PAGE_LEN);
        if sums.len() != n_pages + 1 || sums.last() != Some(&seal(&identity, &ids)) {
            return Err(tokens.error("tokens as they were written", "others"));
        }
        let ids: Vec<u32> = ids.iter().filter_map(|&id| u32::try_from(id).ok()).collect();
        let [shape_pages, page_bytes] = *pages.shape() else { return Err(pages.error("a row for each page", "no rows")) };
        if shape_pages != n_pages {
            return Err(pages.error(format_args!("{n_pages} pages for {} tokens", ids.len()), shape_pages));
        }
        let same = ids.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = same.min(prompt.len().saturating_sub(1));
        let wanted: Vec<&[u8]> = pages.bytes().chunks(page_bytes.max(1)).take(kept.div_ceil(PAGE_LEN)).collect();
        if let Some(page) = wanted.iter().zip(&sums).position(|(page, sum)| checksum(page) != *sum) {
            return Err(pages.error("bytes as they were written", format_args!("others in page {page}")));
        }
        self.held = ids;
        if kept == 0 {
            return Ok(Ok(None));
        }
        let session = Session::restore(self.model.model(), prompt.get(..kept).unwrap_or_default(), wanted.into_iter());
        session.map(|session| Ok(Some(session))).map_err(|error| pages.error("pages of this model", error))
    }

    /// Whether the file holds as much of the prompt as can be of use.
    pub fn holds(&self, prompt: &[u32]) -> bool {
        prompt.split_last().is_none_or(|(_, rest)| self.held.starts_with(rest))
    }

    /// Writes what a session has read. Only the user can read the file: it tells what was in the prompt.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn save(&self, session: &Session<'_>) -> Result<(), Failure> {
        let ids: Vec<i64> = session.tokens().iter().map(|&id| i64::from(id)).collect();
        let mut sums: Vec<i64> = session.pages().map(|page| checksum(page.as_ref())).collect();
        let (n_pages, page_bytes) = (sums.len(), session.pages().next().map_or(0, |page| page.as_ref().len()));
        sums.push(seal(&self.identity, &ids));
        let mut end = 0;
        let mut entry = |dtype: &str, shape: &[usize], width: usize| {
            let begin = end;
            end += shape.iter().product::<usize>() * width;
            json!({ "dtype": dtype, "shape": shape, "data_offsets": [begin, end] })
        };
        let header = json!({
            "__metadata__": { "format": "infer prompt cache", "pages": self.page_name },
            "identity": entry("I64", &[self.identity.len()], 8),
            "tokens": entry("I64", &[ids.len()], 8),
            "checksums": entry("I64", &[sums.len()], 8),
            "pages": entry("U8", &[n_pages, page_bytes], 1),
        });
        let mut header = header.to_string();
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let mut file = OutputFile::create_private(&self.path)?;
        file.write(&(header.len() as u64).to_le_bytes())?;
        file.write(header.as_bytes())?;
        for numbers in [&self.identity[..], &ids, &sums] {
            file.write(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>())?;
        }
        session.pages().try_for_each(|page| file.write(page.as_ref()))?;
        file.finish()
    }
}

fn required<'f>(file: &'f TensorFile, name: &str) -> Result<&'f Tensor, LoadError> {
    file.tensor(name).ok_or_else(|| file.missing_tensor(name))
}

fn checksum(page: &[u8]) -> i64 {
    fingerprint::of_bytes(page).cast_signed()
}

/// The checksum of what is not pages.
fn seal(identity: &[i64], tokens: &[i64]) -> i64 {
    fingerprint::of_words(identity.iter().chain(tokens).map(|number| number.cast_unsigned())).cast_signed()
}
