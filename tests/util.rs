//! What the tests share: folders that disappear, the binary and what it said, small safetensors files.
//!
//! Not here: expectations about a particular command.

use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Far more than any command of a test takes, on any machine: what runs longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// The longest line that an error may be, in characters, with "error: ".
const MAX_LINE: usize = 300;

/// A file or folder of `tests/data`.
pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data").join(path)
}

/// A checkpoint of `tests/data/checkpoints`.
pub fn checkpoint(name: &str) -> PathBuf {
    data("checkpoints").join(name)
}

/// A folder of its own for a test, removed at the end.
pub struct Dir(PathBuf);

impl Dir {
    /// An empty folder.
    pub fn new() -> Dir {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("infer-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Dir(path)
    }

    /// A copy of a checkpoint of `tests/data/checkpoints`, to be changed.
    pub fn of_checkpoint(name: &str) -> Dir {
        let dir = Dir::new();
        for entry in fs::read_dir(checkpoint(name)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, dir.path(path.file_name().unwrap().to_str().unwrap())).unwrap();
        }
        dir
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// A file in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        path
    }

    /// Changes a JSON file.
    pub fn edit_json(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value: Value = serde_json::from_slice(&fs::read(self.path(name)).unwrap()).unwrap();
        change(&mut value);
        self.write(name, value.to_string());
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A command line of the real binary.
pub struct TestCommand {
    command: Command,
    stdin: Vec<u8>,
}

/// The binary with these arguments.
pub fn infer<I: IntoIterator<Item: AsRef<OsStr>>>(args: I) -> TestCommand {
    TestCommand::new(env!("CARGO_BIN_EXE_infer"), args)
}

/// The shell on a script in which `$0` is the binary and `$1`... are the arguments: for limits and redirections.
pub fn shell<I: IntoIterator<Item: AsRef<OsStr>>>(script: &str, args: I) -> TestCommand {
    let mut command = TestCommand::new("sh", ["-c", script, env!("CARGO_BIN_EXE_infer")]);
    command.command.args(args);
    command
}

/// KiB of address space in which the program just begins: its own image, which grows with every kernel, the system's libraries and a first heap.
/// With less the kernel, the loader or the language's runtime ends it before its first line. `None` where a shell cannot limit it.
pub fn least_address_space() -> Option<u64> {
    let begins = |kib: &u64| {
        let script = format!("ulimit -c 0; ulimit -v {kib} && exec \"$0\" --version");
        shell(&script, [""; 0]).run().status.success()
    };
    cfg!(target_os = "linux").then(|| (4096..1 << 20).step_by(512).find(begins).expect("a program that begins in a GiB"))
}

impl TestCommand {
    fn new<I: IntoIterator<Item: AsRef<OsStr>>>(program: &str, args: I) -> TestCommand {
        let mut command = Command::new(program);
        command.args(args);
        TestCommand { command, stdin: Vec::new() }
    }

    /// More arguments.
    pub fn args<I: IntoIterator<Item: AsRef<OsStr>>>(mut self, args: I) -> TestCommand {
        self.command.args(args);
        self
    }

    /// A variable of its environment.
    pub fn env(mut self, name: &str, value: &str) -> TestCommand {
        self.command.env(name, value);
        self
    }

    /// What standard input holds; by default nothing.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> TestCommand {
        self.stdin = bytes.as_ref().to_vec();
        self
    }

    /// Starts it with all three streams as pipes.
    pub fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        self.command.spawn().unwrap()
    }

    /// Runs it to its end.
    pub fn run(self) -> Output {
        self.run_timed().0
    }

    /// The same, with the time that it had a processor, where the system tells: the wall's counts what else runs there.
    pub fn run_timed(self) -> (Output, Option<Duration>) {
        let input = self.stdin.clone();
        let what = format!("{:?}", self.command);
        let mut child = self.spawn();
        let mut stdin = child.stdin.take().unwrap();
        // The command may end without reading.
        let writer = thread::spawn(move || drop(stdin.write_all(&input)));
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let (status, time) = wait_timed(&mut child).unwrap_or_else(|| panic!("{what} did not end"));
        writer.join().unwrap();
        (Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }, time)
    }

    /// Runs it; it must succeed. Returns standard output.
    pub fn succeeds(self) -> String {
        let what = format!("{:?}", self.command);
        let output = self.run();
        assert!(output.status.success(), "{what}: {}\n{}", output.status, text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs it; it must succeed and print one JSON object.
    pub fn json(self) -> Value {
        let text = self.succeeds();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Runs it; it must fail with this exit code and say why in one line. Returns the line without "error: ".
    pub fn fails(self, code: i32) -> String {
        let what = format!("{:?}", self.command);
        let output = self.run();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{what}: {}\n{stderr}", output.status);
        let errors: Vec<&str> = stderr.lines().filter(|line| !line.starts_with("warning: ")).collect();
        let [line] = errors[..] else { panic!("{what}: expected one line, found:\n{stderr}") };
        assert!(line.chars().count() <= MAX_LINE, "{what}: too long: {line}");
        line.strip_prefix("error: ").unwrap_or_else(|| panic!("{what}: no error: {line}")).to_string()
    }
}

/// Waits for the end of a process; `None` where it takes too long, after ending it.
pub fn wait(child: &mut Child) -> Option<ExitStatus> {
    wait_timed(child).map(|(status, _)| status)
}

/// The same, with the time on a processor as it was at most 2 ms before the end.
fn wait_timed(child: &mut Child) -> Option<(ExitStatus, Option<Duration>)> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let time = processor_time(child.id());
        if let Some(status) = child.try_wait().unwrap() {
            return Some((status, time));
        }
        thread::sleep(Duration::from_millis(2));
    }
    let _ = child.kill();
    None
}

/// The time that all threads of a process had a processor, in its own code and in the system's, where Linux tells.
fn processor_time(id: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // After the name in brackets: state, ten others, then both times in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(10 * ticks))
}

/// Reads a stream to its end beside the test.
pub fn collect(mut stream: impl Read + Send + 'static) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Output as text, which it must be.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("output is UTF-8")
}

/// Asserts that two texts are the same; says where they part.
#[track_caller]
pub fn assert_same_text(expected: &str, found: &str) {
    if expected != found {
        let at = expected.bytes().zip(found.bytes()).take_while(|(a, b)| a == b).count();
        let tail =
            |text: &str| text.as_bytes().get(at..).map(|tail| String::from_utf8_lossy(tail).chars().take(60).collect::<String>());
        panic!("texts part at byte {at}:\nexpected {:?}\nfound    {:?}", tail(expected), tail(found));
    }
}

/// A tensor to be written: name, dtype as safetensors spells it, shape, bytes.
pub struct TensorData {
    pub name: String,
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl TensorData {
    /// An int64 vector.
    pub fn i64s(name: &str, values: &[i64]) -> TensorData {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorData { name: name.to_string(), dtype: "I64", shape: vec![values.len()], bytes }
    }

    /// A float32 matrix.
    pub fn f32s(name: &str, shape: [usize; 2], values: &[f32]) -> TensorData {
        let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        TensorData { name: name.to_string(), dtype: "F32", shape: shape.to_vec(), bytes }
    }
}

/// The bytes of a safetensors file with these tensors.
pub fn safetensors(tensors: &[TensorData]) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for tensor in tensors {
        let begin = data.len();
        data.extend_from_slice(&tensor.bytes);
        let entry = json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, data.len()] });
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend_from_slice(&data);
    file
}
