//! `Team`: the threads that a forward pass runs on. The only file that names rayon, and the engine's only unsafe code.
//!
//! The thread that calls [`Team::run`] leads; the others come from a pool and serve it until it is done. Each step of the pass is cut into
//! parts, which leader and workers take in turn from a counter ([`Team::each`]). A part is a whole piece of work with outputs of its own,
//! so results do not depend on who takes which. Not here: what the parts are (`forward.rs`).
//!
//! **Why not rayon's own iterators.** A layer is seven steps, most of them some tens of microseconds long in a small model, and waking a pool costs
//! about ten. Workers therefore wait for the next step by spinning, for a bounded time, and then give up their time slice with each look.
//!
//! **The protocol.** `state` holds an epoch and the number of workers inside the step. The leader writes the job and opens it (the epoch
//! becomes odd); workers enter by compare-and-swap, which fails once the job is closed; when the parts are used up the leader closes it (even)
//! and waits for those inside. So nobody waits for a worker that never came, be it held up by a busy neighbour, and nobody can look at a
//! job that is gone.

use std::any::Any;
use std::cell::UnsafeCell;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::buffer::Buffer;
use crate::error::ModelError;

/// A fixed number of threads, one pass at a time.
pub struct Team {
    /// All threads but the leader; `None` where there are no others.
    workers: Option<ThreadPool>,
    n_threads: usize,
    step: Step,
    /// Held for a pass: the workers serve one leader.
    pass: Mutex<()>,
    /// Scratch memory of each thread, the leader's first; each is locked by its thread for a pass.
    scratch: Vec<Mutex<Buffer<f32>>>,
}

/// What leader and workers share.
struct Step {
    state: Line<AtomicU64>,
    /// The next part to be taken.
    next: Line<AtomicUsize>,
    /// Set when the pass is over.
    is_over: AtomicBool,
    /// Written by the leader while the step is closed and nobody is inside, read by workers inside.
    job: UnsafeCell<Option<Job>>,
    /// The first panic of a part.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A value on cache lines of its own (two, since lines are fetched in pairs).
#[repr(align(128))]
struct Line<T>(T);

/// The parts of a step, without their types and lifetimes.
#[derive(Clone, Copy)]
struct Job {
    n_parts: usize,
    run_part: unsafe fn(*const (), usize, &mut [f32]),
    context: *const (),
}

// SAFETY: `job` is written only while the state is closed with nobody inside, and read only inside, which the acquire and release operations
// on `state` order; what it points to is Sync (the bounds of `Team::each`). All else is atomic or locked.
unsafe impl Sync for Step {}
// SAFETY: a job is only a borrow while a step is open, and then the Step is not moved (it is borrowed by the pass).
unsafe impl Send for Step {}

/// In `state`: one worker inside, and one step of the epoch.
const WORKER: u64 = 1;
const EPOCH: u64 = 1 << 16;

/// Looks at the state before the time slice is given up with each further one: some tens of microseconds.
const SPINS: u32 = 4096;

impl Team {
    /// Starts all threads but the caller's, and gives each `scratch_len` f32 of scratch memory.
    pub fn new(n_threads: NonZeroUsize, scratch_len: usize) -> Result<Team, ModelError> {
        let n_threads = n_threads.get();
        let mut scratch = Vec::new();
        for _ in 0..n_threads {
            let mut buffer = Buffer::default();
            if !buffer.resize(scratch_len) {
                return Err(ModelError::memory("scratch of a thread", scratch_len.checked_mul(size_of::<f32>())));
            }
            scratch.push(Mutex::new(buffer));
        }
        let start = |n| ThreadPoolBuilder::new().num_threads(n).thread_name(|i| format!("infer-{}", i + 1)).build();
        let workers = match n_threads {
            1 => None,
            n => Some(start(n - 1).map_err(ModelError::threads)?),
        };
        let step = Step {
            state: Line(AtomicU64::new(0)),
            next: Line(AtomicUsize::new(0)),
            is_over: AtomicBool::new(false),
            job: UnsafeCell::new(None),
            panic: Mutex::new(None),
        };
        Ok(Team { workers, n_threads, step, pass: Mutex::new(()), scratch })
    }

    /// Number of threads, the leader among them.
    pub fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Runs a pass: `f` on the calling thread, with the workers at hand for its calls of [`Crew::each`]. Passes of other threads wait.
    pub fn run<R>(&self, f: impl FnOnce(&Crew<'_>) -> R) -> R {
        let _pass = lock(&self.pass);
        let crew = Crew { team: self };
        let Some(workers) = &self.workers else { return f(&crew) };
        self.step.is_over.store(false, Ordering::Relaxed);
        workers.in_place_scope(|scope| {
            scope.spawn_broadcast(|_, worker| self.step.serve(&mut lock(&self.scratch[worker.index() + 1])));
            // Dropped at the end of the pass, by a panic too: else the scope would wait for ever.
            let _over = Over(&self.step);
            f(&crew)
        })
    }
}

/// Ends the pass for the workers.
struct Over<'a>(&'a Step);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
    }
}

/// A team during a pass.
pub struct Crew<'a> {
    team: &'a Team,
}

impl Crew<'_> {
    /// Number of threads.
    pub fn n_threads(&self) -> usize {
        self.team.n_threads
    }

    /// Calls `f` on every part, on all threads, and returns when the last is done. Panics if a part does.
    pub fn each<T: Send>(&self, parts: Vec<T>, f: impl Fn(T) + Sync) {
        self.each_with_scratch(parts, |part, _| f(part));
    }

    /// [`Crew::each`] for parts that need scratch memory: each thread's own, with what the part before left in it.
    pub fn each_with_scratch<T: Send, F: Fn(T, &mut [f32]) + Sync>(&self, mut parts: Vec<T>, f: F) {
        let mut scratch = lock(&self.team.scratch[0]);
        if self.team.n_threads == 1 || parts.len() <= 1 {
            return parts.into_iter().for_each(|part| f(part, &mut scratch));
        }
        /// Takes part `i` out of the vector and runs it.
        ///
        /// # Safety
        /// - `context` points to a `(*mut T, F)` that outlives the call, whose pointer is to more than `i` parts.
        /// - No other call takes part `i`.
        unsafe fn run_part<T, F: Fn(T, &mut [f32])>(context: *const (), i: usize, scratch: &mut [f32]) {
            // SAFETY: the caller's contract.
            unsafe {
                let (parts, f) = &*context.cast::<(*mut T, F)>();
                f(parts.add(i).read(), scratch);
            }
        }
        let n_parts = parts.len();
        // SAFETY: no parts are left in the vector's eyes: each is moved out by the one call that takes it, and dropped there. Parts that a
        // panic leaves behind are leaked.
        unsafe { parts.set_len(0) };
        let context = (parts.as_mut_ptr(), f);
        let job = Job { n_parts, run_part: run_part::<T, F>, context: (&raw const context).cast() };
        // SAFETY: `context` lives until `lead` returns, the counter gives each part to one thread, T is Send and F is Sync.
        unsafe { self.team.step.lead(job, &mut scratch) };
        let panic = lock(&self.team.step.panic).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Step {
    /// Opens the step, takes parts until none are left, closes it, and waits for the workers inside.
    ///
    /// # Safety
    /// - The job's pointers are good until this returns, on any thread, for each part once.
    /// - Only the leader of a pass calls this.
    unsafe fn lead(&self, job: Job, scratch: &mut [f32]) {
        let closed = self.state.0.load(Ordering::Relaxed);
        debug_assert!(closed.is_multiple_of(2 * EPOCH), "closed, and nobody inside");
        self.next.0.store(0, Ordering::Relaxed);
        // SAFETY: the step is closed and empty, so nobody reads; only the leader, which is this thread, writes.
        unsafe { *self.job.get() = Some(job) };
        self.state.0.store(closed + EPOCH, Ordering::Release);
        self.take_parts(job, scratch);
        self.state.0.fetch_add(EPOCH, Ordering::Relaxed);
        let mut patience = SPINS;
        while !self.state.0.load(Ordering::Acquire).is_multiple_of(EPOCH) {
            wait(&mut patience);
        }
    }

    /// A worker's pass: enters every step that it sees open.
    fn serve(&self, scratch: &mut [f32]) {
        let mut last = 0;
        let mut patience = SPINS;
        loop {
            let state = self.state.0.load(Ordering::Relaxed);
            let (epoch, is_open) = (state / EPOCH, (state / EPOCH) % 2 == 1);
            if is_open && epoch != last {
                let enter = self.state.0.compare_exchange_weak(state, state + WORKER, Ordering::Acquire, Ordering::Relaxed);
                if enter.is_ok() {
                    // SAFETY: this thread is inside, so the leader does not write.
                    if let Some(job) = unsafe { *self.job.get() } {
                        self.take_parts(job, scratch);
                    }
                    self.state.0.fetch_sub(WORKER, Ordering::Release);
                    last = epoch;
                    patience = SPINS;
                }
            } else if self.is_over.load(Ordering::Acquire) {
                return;
            } else {
                wait(&mut patience);
            }
        }
    }

    /// Runs parts until none are left. A panic is kept for the leader.
    fn take_parts(&self, job: Job, scratch: &mut [f32]) {
        loop {
            let part = self.next.0.fetch_add(1, Ordering::Relaxed);
            if part >= job.n_parts {
                return;
            }
            // SAFETY: the counter gave this part to this call alone, and the job is good while a thread is inside, or leads.
            let run = AssertUnwindSafe(|| unsafe { (job.run_part)(job.context, part, scratch) });
            if let Err(panic) = catch_unwind(run) {
                lock(&self.panic).get_or_insert(panic);
            }
        }
    }
}

/// Waits a moment: spins while there is patience, then lets other threads run.
fn wait(patience: &mut u32) {
    if *patience > 0 {
        *patience -= 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// Locks, whether or not a thread panicked with the lock: what is inside has no state that a panic could break.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn team(n: usize) -> Team {
        Team::new(NonZeroUsize::new(n).unwrap(), 4).unwrap()
    }

    #[test]
    fn every_part_runs_once() {
        for n_threads in [1, 2, 3, 8] {
            let team = team(n_threads);
            for n_parts in [0, 1, 2, 3, 7, 100] {
                let mut hits = vec![0u32; n_parts];
                team.run(|crew| {
                    for _ in 0..50 {
                        crew.each(hits.iter_mut().collect(), |hit: &mut u32| *hit += 1);
                    }
                });
                assert!(hits.iter().all(|&hit| hit == 50), "{n_threads} threads, {n_parts} parts: {hits:?}");
            }
        }
    }

    /// A step sees what all parts of the step before wrote, whoever took them.
    #[test]
    fn steps_follow_each_other() {
        let team = team(3);
        let mut values = vec![0u64; 64];
        team.run(|crew| {
            for step in 0..2_000 {
                let before: Vec<u64> = values.clone();
                let parts = values.iter_mut().enumerate().collect();
                crew.each(parts, |(i, value): (usize, &mut u64)| *value = before[(i + 1) % 64] + 1);
                assert!(values.iter().all(|&value| value == step + 1), "step {step}");
            }
        });
    }

    /// No two parts have the same scratch at the same time.
    #[test]
    fn scratch_is_a_threads_own() {
        let team = team(3);
        team.run(|crew| {
            for _ in 0..200 {
                crew.each_with_scratch((0..30).collect(), |part: i32, scratch| {
                    scratch.fill(part as f32);
                    std::thread::yield_now();
                    assert!(scratch.iter().all(|&x| x == part as f32));
                });
            }
        });
    }

    #[test]
    fn parts_are_dropped_once() {
        let team = team(4);
        let shared = std::sync::Arc::new(());
        team.run(|crew| crew.each(vec![shared.clone(); 1000], drop));
        assert_eq!(std::sync::Arc::strong_count(&shared), 1);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_lives_on() {
        let team = team(3);
        for culprit in [0, 5, 31] {
            let run = || team.run(|crew| crew.each((0..32).collect(), |i: i32| assert!(i != culprit, "part {i}")));
            let panic = catch_unwind(AssertUnwindSafe(run)).expect_err("the part's panic");
            assert_eq!(panic.downcast_ref::<String>().unwrap(), &format!("part {culprit}"));
        }
        let done = AtomicUsize::new(0);
        team.run(|crew| crew.each(vec![1; 10], |n| _ = done.fetch_add(n, Ordering::Relaxed)));
        assert_eq!(done.into_inner(), 10);
    }

    #[test]
    fn a_panic_of_the_leader_ends_the_pass() {
        let team = team(2);
        let run = || team.run(|_| panic!("between steps"));
        assert!(catch_unwind(AssertUnwindSafe(run)).is_err());
        assert_eq!(team.run(|_| 7), 7);
    }

    #[test]
    fn two_callers_take_turns() {
        let team = team(2);
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        team.run(|crew| crew.each(vec![1; 8], |n| _ = total.fetch_add(n, Ordering::Relaxed)));
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 100 * 8);
    }

    /// Far more threads than cores: slower, never stuck.
    #[test]
    fn oversubscription_ends() {
        let team = team(64);
        let total = AtomicUsize::new(0);
        team.run(|crew| {
            for _ in 0..200 {
                crew.each(vec![1; 128], |n| _ = total.fetch_add(n, Ordering::Relaxed));
            }
        });
        assert_eq!(total.into_inner(), 200 * 128);
    }
}
