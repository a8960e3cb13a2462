//! The thread pool: workers that spin while there is work and park soon after.

use crate::KernelError;
use crate::scratch::Scratch;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

type Task<'a> = &'a (dyn Fn(usize) + Sync);

/// Threads that share the tasks of one kernel at a time.
///
/// Workers spin while an [`Active`] guard lives, and park soon after; one thread means no workers at all.
pub struct ThreadPool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    owner: Mutex<()>,
    /// Memory that tasks compute in, while none of them has it.
    scratch: Mutex<Vec<Scratch>>,
}

struct Shared {
    /// Bit 0: a job is open; the rest: twice the number of workers inside it.
    gate: AtomicUsize,
    next: AtomicUsize,
    tasks: AtomicUsize,
    job: UnsafeCell<Option<Task<'static>>>,
    active: AtomicUsize,
    stop: AtomicBool,
    panicked: AtomicBool,
}

// SAFETY: `job` is written only while the gate is closed and empty, and read only by workers inside the open gate.
unsafe impl Sync for Shared {}

impl Shared {
    fn work(&self, job: Task<'_>, tasks: usize) {
        loop {
            let task = self.next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                return;
            }
            job(task);
        }
    }

    fn try_join(&self) {
        let gate = self.gate.load(Ordering::Relaxed);
        if gate & 1 == 0 || self.next.load(Ordering::Relaxed) >= self.tasks.load(Ordering::Relaxed)
        {
            return;
        }
        if self.gate.compare_exchange(gate, gate + 2, Ordering::Acquire, Ordering::Relaxed).is_err()
        {
            return;
        }
        // SAFETY: this worker is inside the open gate, so `run` waits for it and leaves `job` alone.
        let job = unsafe { *self.job.get() };
        if let Some(job) = job {
            let tasks = self.tasks.load(Ordering::Relaxed);
            if catch_unwind(AssertUnwindSafe(|| self.work(job, tasks))).is_err() {
                self.panicked.store(true, Ordering::Relaxed);
            }
        }
        self.gate.fetch_sub(2, Ordering::Release);
    }

    fn worker(&self) {
        let mut idle = 0u32;
        while !self.stop.load(Ordering::Relaxed) {
            if self.active.load(Ordering::Acquire) == 0 && idle >= LINGER {
                std::thread::park();
                continue;
            }
            if self.gate.load(Ordering::Relaxed) & 1 == 1 {
                self.try_join();
                idle = 0;
            }
            relax(&mut idle);
        }
    }
}

/// Turns without work, a tenth of a millisecond or two, after which a worker parks: waking it again takes as long, and the next image
/// often follows at once.
const LINGER: u32 = 4096;

/// Spins first; gives the core away once it is clear that the other side is not running.
fn relax(idle: &mut u32) {
    *idle += 1;
    if idle.is_multiple_of(4096) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

struct Close<'a>(&'a Shared);

impl Drop for Close<'_> {
    fn drop(&mut self) {
        self.0.gate.fetch_and(!1, Ordering::Relaxed);
        let mut idle = 0;
        while self.0.gate.load(Ordering::Acquire) != 0 {
            relax(&mut idle);
        }
    }
}

/// Keeps the workers of a pool awake while it lives.
pub struct Active<'a>(&'a ThreadPool);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.shared.active.fetch_sub(1, Ordering::Release);
    }
}

impl ThreadPool {
    /// A pool of `threads` threads, the caller's own included; 0 counts as 1.
    pub fn new(threads: usize) -> ThreadPool {
        let shared = Arc::new(Shared {
            gate: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            job: UnsafeCell::new(None),
            active: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
        });
        // Where the system gives no more threads, those that it gave do the work; `threads` tells how many.
        let workers = (1..threads)
            .map_while(|_| {
                let shared = Arc::clone(&shared);
                let builder = std::thread::Builder::new();
                builder.spawn(move || shared.worker()).ok()
            })
            .collect();
        ThreadPool { shared, workers, owner: Mutex::new(()), scratch: Mutex::new(vec![]) }
    }

    /// Threads that take tasks, the caller's own included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Keeps the workers spinning until the guard is dropped.
    pub fn activate(&self) -> Active<'_> {
        if self.shared.active.fetch_add(1, Ordering::AcqRel) == 0 {
            for worker in &self.workers {
                worker.thread().unpark();
            }
        }
        Active(self)
    }

    /// Calls `f` once for each of `0..tasks`, in any order, on all threads, and returns when all are done.
    ///
    /// A call from inside a task, or while another thread's call is running, runs on the calling thread alone.
    ///
    /// # Panics
    /// When a task does.
    pub fn run(&self, tasks: usize, f: &(dyn Fn(usize) + Sync)) {
        let owner = match self.owner.try_lock() {
            Ok(owner) => Some(owner),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => {
                Some(PoisonError::into_inner(poisoned))
            }
            Err(std::sync::TryLockError::WouldBlock) => None,
        };
        if self.workers.is_empty() || tasks <= 1 || owner.is_none() {
            (0..tasks).for_each(f);
            return;
        }
        let _active = self.activate();
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; `Close` waits, even on unwinding, until no worker is inside the gate.
        let job = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(f) };
        // SAFETY: the gate is closed and empty here, so no worker reads `job`.
        unsafe { *shared.job.get() = Some(job) };
        shared.tasks.store(tasks, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        shared.gate.store(1, Ordering::Release);
        let close = Close(shared);
        shared.work(f, tasks);
        drop(close);
        if shared.panicked.swap(false, Ordering::Relaxed) {
            panic!("a task of the thread pool panicked");
        }
    }

    /// As [`ThreadPool::run`]; each call of `f` has `len` elements of memory of its own, with anything in them.
    ///
    /// # Errors
    /// `Memory` when there is not that much; nothing has run then.
    pub(crate) fn run_with_scratch(
        &self,
        tasks: usize,
        len: usize,
        f: &(dyn Fn(usize, *mut f32) + Sync),
    ) -> Result<(), KernelError> {
        let scratch = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let mut scratch = scratch();
            scratch.retain(|memory| memory.len() >= len);
            while scratch.len() < self.threads() {
                scratch.push(Scratch::new(len)?);
            }
        }
        let take = || {
            let mut scratch = scratch();
            let at = scratch.iter().position(|memory| memory.len() >= len)?;
            Some(scratch.swap_remove(at))
        };
        self.run(tasks, &|task| {
            // Another thread's call may have taken what was meant for this one, and gives it back.
            let mut idle = 0;
            let mut memory = loop {
                match take() {
                    Some(memory) => break memory,
                    None => relax(&mut idle),
                }
            };
            f(task, memory.as_mut_ptr());
            scratch().push(memory);
        });
        Ok(())
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker only ends by `stop`: its tasks' panics are caught and told by `run`.
            let _ = worker.join();
        }
    }
}
