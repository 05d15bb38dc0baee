//! The template engine, set up as transformers sets up Jinja2, and within bounds.
//!
//! Source: transformers 5.23, `chat_template_utils._compile_jinja_template`. Not here: which template is rendered and with what
//! (`mod.rs`), and what Python's values and methods do (`python.rs`).
//!
//! A template is a program that came with a model. There is no loader, so it includes nothing; each operation and each 64 bytes of
//! a value take fuel, so that neither time nor memory are without end; calls nest so deep and no deeper, on a stack of known
//! size, which is why each rendering has a thread; the output
//! goes to a writer that takes so much and no more; and writing, functions and methods look at the clock.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{AutoEscape, Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};

use super::origin::Marks;
use super::python;

/// Operations, and 64 bytes of values, that one rendering may take. A message takes some hundreds.
const FUEL: u64 = 1_000_000;
/// How deep macros may call each other.
const RECURSION: usize = 100;
/// The stack of a rendering. What is nested as deep as the fuel allows is also let go so deep. Only what is used is ever taken.
const STACK: usize = 64 << 20;
/// The longest text that a template may write, in bytes.
const MAX_OUTPUT: usize = 1 << 20;
/// The longest that a rendering may take.
const TIME: Duration = Duration::from_secs(5);

/// Renders `source` with the variables of `context`.
///
/// # Errors
/// What is wrong with the template, or with the messages in its opinion, in one line; see [`described`].
pub(super) fn render(source: &str, context: Value, marks: Option<Marks>) -> Result<String, String> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        let rendering = thread.spawn_scoped(scope, || render_here(source, context, marks));
        let rendering = rendering.map_err(|error| format!("no stack of {STACK} bytes for it ({error})"))?;
        rendering.join().unwrap_or_else(|_| Err("one that breaks the template library".to_owned()))
    })
}

fn render_here(source: &str, context: Value, marks: Option<Marks>) -> Result<String, String> {
    let deadline = Instant::now() + TIME;
    let environment = environment(marks, deadline).map_err(|error| described(&error))?;
    let template = environment.template_from_str(source).map_err(|error| described(&error))?;
    let mut output = Output { text: Vec::new(), deadline, overflow: None };
    let rendered = template.render_captured_to(context, &mut output).map(drop);
    match (output.overflow, rendered) {
        (Some(overflow), _) => Err(overflow.to_owned()),
        (None, Err(error)) => Err(described(&error)),
        (None, Ok(())) => String::from_utf8(output.text).map_err(|error| error.to_string()),
    }
}

fn environment(marks: Option<Marks>, deadline: Instant) -> Result<Environment<'static>, Error> {
    let mut environment = Environment::new();
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION);
    environment.set_formatter(|out, state, value| match python::text_of_number(value) {
        Some(text) => out.write_str(&text).map_err(Error::from),
        None => escape_formatter(out, state, value),
    });
    environment.set_unknown_method_callback(move |state, value, method, arguments| {
        check_time(deadline)?;
        python::method(state, value, method, arguments)
    });
    environment.add_filter("tojson", move |value: &Value, positional: Rest<Value>, named: Kwargs| {
        check_time(deadline)?;
        python::tojson(value, &positional, &named, marks)
    });
    environment.add_filter("string", |value: &Value| python::text_of_number(value).unwrap_or_else(|| value.to_string()));
    environment.add_function("raise_exception", |message: &Value| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
    });
    environment.add_function("dict", python::dict);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_test("sequence", python::is_sequence);
    environment.add_function("strftime_now", |format: &str| python::strftime(format, &jiff::ZonedDateTime::now()));
    Ok(environment)
}

/// Begins the detail of an error that the template raised itself.
const RAISED: &str = "raised by the template: ";

fn check_time(deadline: Instant) -> Result<(), Error> {
    if Instant::now() < deadline {
        return Ok(());
    }
    Err(Error::new(ErrorKind::InvalidOperation, format!("more than {} seconds of work", TIME.as_secs())))
}

/// An error as what was found: what the template raised; else what it tried, and in which line.
fn described(error: &Error) -> String {
    // What happened in a macro is the source of an error about calling it.
    let mut innermost = error;
    while let Some(source) = std::error::Error::source(innermost).and_then(|source| source.downcast_ref::<Error>()) {
        innermost = source;
    }
    if let Some(raised) = innermost.detail().and_then(|detail| detail.strip_prefix(RAISED)) {
        return format!("{raised:?} raised by the template");
    }
    let mut text = innermost.kind().to_string();
    if innermost.kind() == ErrorKind::OutOfFuel {
        text = format!("one that takes more than {FUEL} steps");
    } else if let Some(detail) = innermost.detail() {
        text = format!("{text}: {detail}");
    }
    match innermost.line() {
        Some(line) => format!("{text} (line {line})"),
        None => text,
    }
}

/// Takes the text, up to its bound and as long as there is time.
struct Output {
    text: Vec<u8>,
    deadline: Instant,
    overflow: Option<&'static str>,
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > MAX_OUTPUT {
            self.overflow = Some("one that writes more than 1 MiB of text");
        } else if Instant::now() > self.deadline {
            self.overflow = Some("one that takes more than 5 seconds");
        }
        if let Some(overflow) = self.overflow {
            return Err(io::Error::other(overflow));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output({} bytes)", self.text.len())
    }
}
