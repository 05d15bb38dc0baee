//! The memory map of a weight file, its contract, and what happens when another program breaks that contract; and memory without a file.
//!
//! This is the only file of the crate with `unsafe`. Not here: reading a file into memory (`buffer.rs`), and any format.
//!
//! # The contract
//! A `&[u8]` over a mapped file claims that the bytes do not change while it is borrowed, and no operating system promises that:
//! another program may write to the file or cut it short. What we do about it:
//!
//! 1. Nothing that memory safety depends on is read from the map. Headers are parsed from an owned copy; the extents made from
//!    them are checked against the length that was mapped. From the map come only weights, and every bit pattern is a valid
//!    number: a file rewritten in place gives wrong numbers, not wrong memory accesses.
//! 2. A file cut short makes the kernel raise SIGBUS where the missing pages are touched. The handler installed by
//!    [`install_map_fault_handler`] then prints one line that names the file and ends the process with exit code 4.
//! 3. `Checkpoint::verify_unchanged` compares length and modification time with those at opening, for programs that live long.
//! 4. Who cannot accept that opens with `OpenOptions { mmap: false }`: the file is read into memory, and the above is moot.

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::{Mmap, MmapMut};

/// A file mapped read-only, whole. The map lives as long as this value.
#[derive(Debug)]
pub(crate) struct Mapping {
    map: Mmap,
    #[cfg(unix)]
    slot: Option<&'static fault::Slot>,
}

impl Mapping {
    /// Maps the first `length` bytes of `file`; `path` is for the message of the fault handler.
    ///
    /// # Errors
    /// What the operating system says; `length` 0 is refused by it.
    pub(crate) fn new(file: &File, length: usize, path: &Path) -> io::Result<Mapping> {
        // SAFETY: the map is read-only and private to this value. Other programs may change the file below it; the module's
        // documentation says why no memory access depends on the bytes.
        let map = unsafe { memmap2::MmapOptions::new().len(length).map(file)? };
        // Where the file system can, pages of the file that are not in memory yet come in as huge ones, and stay so for the next start: fewer
        // address translations (a 135M bf16 model decoded 100 and not 80 tokens/s from them). A wish: where it is refused, nothing is lost.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        #[cfg(unix)]
        let slot = fault::register(map.as_ptr() as usize, map.len(), path);
        #[cfg(not(unix))]
        let _ = path;
        Ok(Mapping {
            map,
            #[cfg(unix)]
            slot,
        })
    }

    /// The file's bytes, in place.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(unix)]
impl Drop for Mapping {
    fn drop(&mut self) {
        // Before the field `map` is dropped, so that the handler never blames a file for an address it no longer has.
        if let Some(slot) = self.slot {
            slot.release();
        }
    }
}

/// Memory of our own, in huge pages where the system gives them, for what is large and read in order. Zero until written.
#[derive(Debug)]
pub struct Anonymous(MmapMut);

impl Anonymous {
    /// The size of a huge page on the systems where they are asked for; a multiple of it wastes nothing.
    pub const HUGE_PAGE: usize = 2 << 20;

    /// `length` bytes. Pages are taken when they are first written.
    ///
    /// # Errors
    /// What the operating system says where it has no such memory.
    pub fn new(length: usize) -> io::Result<Anonymous> {
        let map = MmapMut::map_anon(length)?;
        // A request, which a system may not know or not grant.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Anonymous(map))
    }

    /// The memory, aligned to a page.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The memory, to be written.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Installs the handler that turns the fault of a mapped file cut short by another program into the line
/// `error: <file>: changed while in use ...` on standard error and exit code 4. Other faults are left to the action that was set before.
///
/// For programs, not libraries: it is process-wide. Calling it again changes nothing. On systems without SIGBUS it does nothing.
pub fn install_map_fault_handler() {
    #[cfg(unix)]
    fault::install();
}

#[cfg(unix)]
mod fault {
    //! The SIGBUS handler and the table of mappings that it reads. Everything the handler touches is an atomic or is never freed
    //! once published: it may run at any instruction, on any thread, also within `register`.

    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;
    use std::ptr;
    use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
    use std::sync::{Mutex, Once};

    /// One mapping, or a vacancy. Slots are leaked, linked and reused: a process that opens and closes a million checkpoints
    /// keeps as many as were open at once.
    #[derive(Debug)]
    pub(super) struct Slot {
        /// Address of the first byte; 0 marks a vacancy.
        begin: AtomicUsize,
        len: AtomicUsize,
        /// The whole line that the handler writes. Null in a vacancy; else leaked memory that is never freed.
        line: AtomicPtr<Vec<u8>>,
        next: *const Slot,
    }

    // SAFETY: `next` is written once, before the slot is published, and points to a slot that is never freed; the rest is atomic.
    unsafe impl Sync for Slot {}

    /// The most recently added slot; the others hang on `next`.
    static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());
    /// Serialises writers. The handler does not take it.
    static WRITER: Mutex<Lines> = Mutex::new(Lines(Vec::new()));

    /// The lines in use so far, so that opening the same file again does not leak another.
    struct Lines(Vec<&'static Vec<u8>>);

    impl Lines {
        fn intern(&mut self, line: Vec<u8>) -> &'static Vec<u8> {
            match self.0.iter().find(|known| ***known == line) {
                Some(known) => known,
                None => {
                    let line = &*Box::leak(Box::new(line));
                    self.0.push(line);
                    line
                }
            }
        }
    }

    impl Slot {
        pub(super) fn release(&self) {
            self.begin.store(0, Ordering::SeqCst);
        }
    }

    /// The slots, from any context.
    fn slots() -> impl Iterator<Item = &'static Slot> {
        let mut next = SLOTS.load(Ordering::SeqCst).cast_const();
        std::iter::from_fn(move || {
            // SAFETY: null, or a slot that `register` leaked and published with all fields set.
            let slot = unsafe { next.as_ref() }?;
            next = slot.next;
            Some(slot)
        })
    }

    pub(super) fn register(begin: usize, len: usize, path: &Path) -> Option<&'static Slot> {
        let mut line = b"error: ".to_vec();
        line.extend(path.as_os_str().as_bytes().iter().map(|&byte| if byte.is_ascii_control() { b'?' } else { byte }));
        line.extend(
            b": changed while in use: expected the file as it was opened, found that a page of it is gone or unreadable\n",
        );
        let mut lines = WRITER.lock().ok()?;
        let line = ptr::from_ref(lines.intern(line)).cast_mut();
        if let Some(slot) = slots().find(|slot| slot.begin.load(Ordering::SeqCst) == 0) {
            slot.line.store(line, Ordering::SeqCst);
            slot.len.store(len, Ordering::SeqCst);
            slot.begin.store(begin, Ordering::SeqCst);
            return Some(slot);
        }
        let slot = &*Box::leak(Box::new(Slot {
            begin: AtomicUsize::new(begin),
            len: AtomicUsize::new(len),
            line: AtomicPtr::new(line),
            next: SLOTS.load(Ordering::SeqCst),
        }));
        SLOTS.store(ptr::from_ref(slot).cast_mut(), Ordering::SeqCst);
        Some(slot)
    }

    /// What to do about faults that are not ours: the action before ours. Null until there is one, else leaked memory.
    static PREVIOUS: AtomicPtr<libc::sigaction> = AtomicPtr::new(ptr::null_mut());

    /// Whether a thread is ending the process already.
    static IS_TOLD: AtomicBool = AtomicBool::new(false);

    pub(super) fn install() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            // SAFETY: both actions are valid, zero-initialised `sigaction`s. Our handler has the signature that SA_SIGINFO asks for
            // and calls async-signal-safe functions only. SA_ONSTACK: the fault may come from a thread with little stack left.
            unsafe {
                let mut previous: libc::sigaction = std::mem::zeroed();
                if libc::sigaction(libc::SIGBUS, ptr::null(), &mut previous) == 0 {
                    PREVIOUS.store(Box::into_raw(Box::new(previous)), Ordering::SeqCst);
                }
                let mut action: libc::sigaction = std::mem::zeroed();
                let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_bus_error;
                action.sa_sigaction = handler as libc::sighandler_t;
                action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
                libc::sigemptyset(&mut action.sa_mask);
                libc::sigaction(libc::SIGBUS, &action, ptr::null_mut());
            }
        });
    }

    extern "C" fn on_bus_error(signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
        // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t`.
        let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
        // The address means something only if the kernel raised the signal, not another process.
        let address = if code > 0 { address } else { 0 };
        for slot in slots() {
            let begin = slot.begin.load(Ordering::SeqCst);
            // The tail of the last page belongs to the map, too, but is never touched.
            if begin == 0 || !(begin..begin + slot.len.load(Ordering::SeqCst)).contains(&address) {
                continue;
            }
            // Threads that work on the same weights run into the same hole: one tells, the others wait for the end.
            while IS_TOLD.swap(true, Ordering::SeqCst) {
                // SAFETY: `pause` is async-signal-safe.
                unsafe { libc::pause() };
            }
            // SAFETY: non-null whenever `begin` was published, and never freed; `write` and `_exit` are async-signal-safe.
            unsafe {
                let line = &*slot.line.load(Ordering::SeqCst);
                libc::write(2, line.as_ptr().cast(), line.len());
                libc::_exit(4);
            }
        }
        // Not ours. A fault recurs when this handler returns, and the action before ours takes over; that may be the runtime's, which
        // reports stack overflow. A signal from another process would not recur.
        let previous = PREVIOUS.load(Ordering::SeqCst);
        // SAFETY: `previous` is null or a valid action that is never freed; the functions are async-signal-safe.
        unsafe {
            if code > 0 && !previous.is_null() {
                libc::sigaction(signal, previous, ptr::null_mut());
            } else {
                libc::signal(signal, libc::SIG_DFL);
                libc::raise(signal);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Anonymous;

    #[test]
    fn anonymous_memory_is_zero_aligned_and_writable() {
        let mut memory = Anonymous::new(Anonymous::HUGE_PAGE + 1).unwrap();
        assert!(memory.bytes().iter().all(|&byte| byte == 0));
        assert_eq!(memory.bytes().as_ptr().align_offset(4096), 0);
        memory.bytes_mut().fill(7);
        assert_eq!((memory.bytes().len(), memory.bytes()[Anonymous::HUGE_PAGE]), (Anonymous::HUGE_PAGE + 1, 7));
        assert!(Anonymous::new(isize::MAX as usize).is_err());
    }
}
