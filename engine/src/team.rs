//! `Team`: the worker threads. The only file that names rayon.
//!
//! A forward pass runs inside [`Team::run`], on a pool of its own, and shares out the parts of each step with [`Team::each`]. Which thread takes
//! which part is left to chance: a part is a whole piece of work with outputs of its own, so results do not depend on it. Not here: what
//! the parts are (`forward.rs`).

use std::num::NonZeroUsize;

use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::error::ModelError;

/// A fixed number of worker threads.
pub struct Team {
    pool: ThreadPool,
    n_threads: usize,
}

impl Team {
    /// Starts `n_threads` workers.
    pub fn new(n_threads: NonZeroUsize) -> Result<Team, ModelError> {
        let n_threads = n_threads.get();
        let builder = ThreadPoolBuilder::new().num_threads(n_threads).thread_name(|i| format!("infer-{i}"));
        Ok(Team { pool: builder.build().map_err(ModelError::threads)?, n_threads })
    }

    /// Number of workers.
    pub fn n_threads(&self) -> usize {
        self.n_threads
    }

    /// Runs `f` on a worker and waits for it. Within it, [`Team::each`] need not wake anyone from outside of the pool.
    pub fn run<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Calls `f` on every part, on all workers, and waits until the last is done.
    pub fn each<T: Send>(&self, parts: Vec<T>, f: impl Fn(T) + Sync + Send) {
        if self.n_threads == 1 || parts.len() == 1 {
            parts.into_iter().for_each(f);
        } else {
            parts.into_par_iter().with_max_len(1).for_each(f);
        }
    }
}
