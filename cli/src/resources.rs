//! What the machine allows this process: memory (system, cgroup, address space) and processors.
//!
//! Asked before the work starts, because an operating system that overcommits reports a shortage by killing the process. Not here:
//! how much a model needs (the engine's `MemoryPlan`). Limits are read from Linux's `/proc` and `/sys`; elsewhere none is known and
//! none is enforced.

use std::fs;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;

use crate::report::{self, Failure};

/// Bytes of memory that this process may still use, each limit where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Left in physical memory, counting file pages that can be dropped.
    pub physical: Option<u64>,
    /// Left in the tightest control group (container), counting its file pages that can be dropped.
    pub group: Option<u64>,
    /// Left in the address space (`ulimit -v`), in which mapped files count too.
    pub address_space: Option<u64>,
}

impl Memory {
    /// Reads the limits as they are now.
    pub fn now() -> Memory {
        Memory::read(Path::new("/"))
    }

    /// The tightest limit on memory that cannot be dropped, in bytes, with its name.
    pub fn available(&self) -> Option<(u64, &'static str)> {
        let limits = [
            (self.physical, "available memory"),
            (self.group, "the control group's memory limit"),
            (self.address_space, "the address space limit (ulimit -v)"),
        ];
        limits.into_iter().filter_map(|(left, name)| Some((left?, name))).min_by_key(|&(left, _)| left)
    }

    /// `root` is `/`, or a copy of what matters of it.
    fn read(root: &Path) -> Memory {
        let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let physical = field_kib(&read("proc/meminfo"), "MemAvailable:");
        let limit = address_space_limit(&read("proc/self/limits"));
        let in_use = field_kib(&read("proc/self/status"), "VmSize:");
        let address_space = limit.zip(in_use).map(|(limit, in_use)| limit.saturating_sub(in_use));
        Memory { physical, group: group_left(root, &read("proc/self/cgroup")), address_space }
    }
}

/// Memory without which nothing is begun. What comes from a file or a flag is allocated with care, but libraries take some megabytes
/// for tables and threads without asking whether they are there, and would abort.
const WORKING_MEMORY: usize = 32 << 20;

/// An error unless [`WORKING_MEMORY`] can be had.
pub fn require_working_memory() -> Result<(), Failure> {
    let mut trial: Vec<u8> = Vec::new();
    let reserved = trial.try_reserve_exact(WORKING_MEMORY);
    // An allocation that nobody looks at may be left out by the compiler.
    std::hint::black_box(&mut trial);
    reserved.map_err(|_| {
        Failure::resources(format!("memory: expected at least {} MiB to work with, found less", WORKING_MEMORY >> 20))
    })
}

/// The number of worker threads: `requested`, else one for each processor that affinity and container quota allow. More threads than
/// can help are cut back with a warning.
pub fn threads(requested: Option<NonZeroUsize>) -> NonZeroUsize {
    let processors = available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let Some(requested) = requested else { return processors };
    let threads = cut_back(requested, processors);
    if threads < requested {
        report::warn(&format!("--threads: {requested} is more than 4 for each of {processors} processors, using {threads}"));
    }
    threads
}

/// At most four threads for each processor.
fn cut_back(requested: NonZeroUsize, processors: NonZeroUsize) -> NonZeroUsize {
    requested.min(processors.saturating_mul(NonZeroUsize::MIN.saturating_add(3)))
}

/// The largest amount of memory that the process has had resident, in bytes, where the system tells.
pub fn peak_resident() -> Option<u64> {
    field_kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Bytes of the weight files that opening `model` would read: the file, or the `.safetensors` files of the folder.
pub fn weight_file_bytes(model: &Path) -> u64 {
    let length = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    let single = model.join("model.safetensors");
    if !model.is_dir() {
        return length(model);
    }
    if single.exists() {
        return length(&single);
    }
    let entries = fs::read_dir(model).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "safetensors")).map(|path| length(&path)).sum()
}

/// The value in bytes of a line such as `MemAvailable:   123 kB`.
fn field_kib(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The soft limit in a line such as `Max address space   1048576   unlimited   bytes`.
fn address_space_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What is left in the tightest control group of the process. `cgroup`: the text of `/proc/self/cgroup`.
fn group_left(root: &Path, cgroup: &str) -> Option<u64> {
    let lefts = cgroup.lines().flat_map(|line| {
        // "0::/path" in version 2; "5:memory:/path" in version 1, where each controller has a tree of its own.
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let (base, files) = match controllers {
            "" => ("sys/fs/cgroup", ["memory.max", "memory.current"]),
            _ if controllers.split(',').any(|c| c == "memory") => {
                ("sys/fs/cgroup/memory", ["memory.limit_in_bytes", "memory.usage_in_bytes"])
            }
            _ => return Vec::new(),
        };
        let base = root.join(base);
        let mut folder = base.join(path.trim_start_matches('/'));
        // A limit of any group above holds as well. In a container the path may name a folder outside; then only the top exists.
        let mut folders: Vec<PathBuf> = Vec::new();
        while folder.starts_with(&base) {
            folders.push(folder.clone());
            if !folder.pop() {
                break;
            }
        }
        folders.iter().filter_map(|folder| left_in(folder, files)).collect()
    });
    lefts.min()
}

/// Limit minus use of one group, where file pages that are not in active use do not count as used.
fn left_in(folder: &Path, [limit, usage]: [&str; 2]) -> Option<u64> {
    let number = |file: &str| fs::read_to_string(folder.join(file)).ok()?.trim().parse::<u64>().ok();
    let limit = number(limit)?; // "max" is no number: no limit
    let used = number(usage)?;
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let droppable = |name: &str| -> u64 {
        let value = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
    };
    let file_pages = droppable("inactive_file").saturating_add(droppable("active_file"));
    Some(limit.saturating_sub(used.saturating_sub(file_pages)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that looks like `/` to the reader, removed at the end.
    struct Root(PathBuf);

    impl Root {
        fn new(name: &str, files: &[(&str, &str)]) -> Root {
            let root = Root(std::env::temp_dir().join(format!("infer-resources-{name}-{}", std::process::id())));
            for (path, text) in files {
                let path = root.0.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            root
        }
    }

    impl Drop for Root {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const MEMINFO: &str = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n";

    #[test]
    fn version_2_groups_count_every_level_and_forgive_file_pages() {
        let root = Root::new(
            "v2",
            &[
                ("proc/meminfo", MEMINFO),
                ("proc/self/cgroup", "0::/user/job\n"),
                ("sys/fs/cgroup/user/job/memory.max", "max\n"),
                ("sys/fs/cgroup/user/job/memory.current", "700\n"),
                ("sys/fs/cgroup/user/memory.max", "1000\n"),
                ("sys/fs/cgroup/user/memory.current", "900\n"),
                ("sys/fs/cgroup/user/memory.stat", "anon 300\ninactive_file 400\nactive_file 200\n"),
            ],
        );
        let memory = Memory::read(&root.0);
        assert_eq!(memory, Memory { physical: Some(8_000_000 * 1024), group: Some(700), address_space: None });
        assert_eq!(memory.available(), Some((700, "the control group's memory limit")));
    }

    #[test]
    fn version_1_groups_are_found_at_the_top_when_the_path_is_outside() {
        let root = Root::new(
            "v1",
            &[
                ("proc/self/cgroup", "11:cpu,cpuacct:/x\n5:memory:/docker/0123\n"),
                ("sys/fs/cgroup/memory/memory.limit_in_bytes", "5000\n"),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1500\n"),
            ],
        );
        assert_eq!(Memory::read(&root.0).group, Some(3500));
    }

    #[test]
    fn the_address_space_limit_counts_what_is_in_use() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max address space         1048576000           unlimited            bytes     \n";
        let root = Root::new("as", &[("proc/self/limits", limits), ("proc/self/status", "VmPeak:\t 9 kB\nVmSize:\t  1000 kB\n")]);
        assert_eq!(Memory::read(&root.0).address_space, Some(1_048_576_000 - 1_024_000));
        let unlimited = limits.replace("1048576000", "unlimited ");
        let root = Root::new("no-as", &[("proc/self/limits", &unlimited), ("proc/self/status", "VmSize:\t  1000 kB\n")]);
        assert_eq!(Memory::read(&root.0), Memory { physical: None, group: None, address_space: None });
    }

    #[test]
    fn too_many_threads_are_cut_back_and_few_are_kept() {
        let n = |n| NonZeroUsize::new(n).unwrap();
        assert_eq!(threads(None), available_parallelism().unwrap());
        assert_eq!([cut_back(n(1), n(2)), cut_back(n(8), n(2)), cut_back(n(9), n(2))], [n(1), n(8), n(8)]);
        assert_eq!(cut_back(NonZeroUsize::MAX, n(16)), n(64));
    }
}
