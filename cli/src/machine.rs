//! What the processor is called and how large its last cache is, where the system tells (Linux).
//!
//! Not here: what a process may use of the machine (`resources.rs`).

use std::fs;
use std::path::Path;

/// The processor, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Processor {
    /// Its name; empty where unknown.
    pub name: String,
    /// Bytes of the last cache on the way to memory.
    pub last_cache: Option<u64>,
}

impl Processor {
    /// Asks the system.
    pub fn this() -> Processor {
        Processor::read(Path::new("/"))
    }

    /// `root` is `/`, or a copy of what matters of it.
    fn read(root: &Path) -> Processor {
        let cpuinfo = fs::read_to_string(root.join("proc/cpuinfo")).unwrap_or_default();
        let name = cpuinfo.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == "model name");
        Processor {
            name: name.map(|(_, name)| name.trim().to_string()).unwrap_or_default(),
            last_cache: last_cache(&root.join("sys/devices/system/cpu/cpu0/cache")),
        }
    }
}

/// The size of the cache of the highest level among those that `folder` describes, one folder each.
fn last_cache(folder: &Path) -> Option<u64> {
    let caches = fs::read_dir(folder).ok()?.filter_map(|entry| {
        let read = |file: &str| fs::read_to_string(entry.as_ref().ok()?.path().join(file)).ok();
        let level: u32 = read("level")?.trim().parse().ok()?;
        Some((level, size(read("size")?.trim())?))
    });
    caches.max().map(|(_, size)| size)
}

/// A size such as `32K` or `8M`, in bytes.
fn size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(["48K", "32M", "1G", "512"].map(size), [Some(49_152), Some(32 << 20), Some(1 << 30), Some(512)]);
        assert_eq!(["", "K", "1T", "x", "-1K"].map(size), [None; 5]);
    }

    #[test]
    fn the_highest_level_is_the_last_cache() {
        let root = std::env::temp_dir().join(format!("infer-machine-{}", std::process::id()));
        let caches = root.join("sys/devices/system/cpu/cpu0/cache");
        for (index, level, size) in [("index0", "1\n", "48K\n"), ("index3", "3\n", "30M\n"), ("index2", "2\n", "64M\n")] {
            fs::create_dir_all(caches.join(index)).unwrap();
            fs::write(caches.join(index).join("level"), level).unwrap();
            fs::write(caches.join(index).join("size"), size).unwrap();
        }
        fs::create_dir_all(root.join("proc")).unwrap();
        fs::write(root.join("proc/cpuinfo"), "processor\t: 0\nmodel\t\t: 6\nmodel name\t: A CPU @ 2 GHz\n\nprocessor\t: 1\n")
            .unwrap();
        let found = Processor::read(&root);
        let nothing = Processor::read(&root.join("nowhere"));
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, Processor { name: "A CPU @ 2 GHz".to_string(), last_cache: Some(30 << 20) });
        assert_eq!(nothing, Processor { name: String::new(), last_cache: None });
    }
}
