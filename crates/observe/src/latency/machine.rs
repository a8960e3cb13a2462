//! What the machine was while something was timed: its CPU, how fast it was from round to round, and what others did.

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use serde::{Deserialize, Serialize};

/// Numbers that the loop reads by which the machine is timed: 512 KB, half of what the caches of most cores hold.
const NUMBERS: usize = 1 << 16;
/// How often it reads them in one turn: a fraction of a millisecond.
const PASSES: usize = 8;
/// Sums that grow side by side, so that as many instructions are in flight as a core can hold.
const LANES: usize = 8;
/// Turns of the loop, of which the middle one counts.
const TURNS: usize = 9;
/// A round is disturbed where the loop took longer than at its fastest by more than this share ...
const SLOWER: f64 = 0.05;
/// ... or threads waited for a CPU for more than this share of the time.
const WAITED: f64 = 0.02;

/// What the machine was, and did, while models were timed.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// Name of the CPU; `None` where the system does not tell.
    pub cpu: Option<String>,
    /// Rounds that were timed.
    pub rounds: u32,
    /// Of these, rounds in which the machine was slower than at its fastest, by the loop before and behind them, or threads waited.
    pub disturbed_rounds: u32,
    /// Whether enough rounds were undisturbed, so that only these count; otherwise all do.
    pub is_quiet: bool,
    /// Share of the time of the rounds that count for which threads waited for a CPU that others had; `None` where the system does
    /// not tell.
    pub waited: Option<f64>,
    /// By what share the loop took longer in the slowest round than at its fastest.
    pub slowest: f64,
    /// Steps of the loop at its fastest, of all threads together, in 10⁹ a second: by it can be told whether another measurement
    /// found the machine as it was.
    pub gsteps_per_s: f64,
    /// Lowest and highest frequency that was seen, in megahertz; `None` where the system does not tell.
    pub frequency_mhz: Option<[f64; 2]>,
    /// Share of the CPU time that other processes took; `None` where the system does not tell.
    pub other_load: Option<f64>,
    /// Share of the CPU time that the host of a virtual machine gave to others, as far as it tells.
    pub stolen: Option<f64>,
}

/// Watches the machine from round to round.
pub(super) struct Watch {
    root: PathBuf,
    threads: usize,
    before: Option<Ticks>,
    numbers: Vec<u64>,
    /// Time of the loop in milliseconds, before the first round and behind each.
    loop_ms: Vec<f64>,
    /// When the round began, and for how long threads had waited until then.
    began: Option<Began>,
    /// Share of each round for which threads waited.
    waited: Vec<Option<f64>>,
    frequency_mhz: Option<[f64; 2]>,
}

#[derive(Clone, Copy, Debug)]
struct Began {
    at: Instant,
    waited_ns: Option<f64>,
}

impl Watch {
    /// Looks at the machine before the first round. `root` holds `proc` and `sys`.
    pub(super) fn new(root: &Path, threads: usize) -> Self {
        let mut watch = Self {
            root: root.to_owned(),
            threads: threads.max(1),
            before: Ticks::read(&root.join("proc")),
            numbers: (0..NUMBERS as u64).collect(),
            loop_ms: Vec::new(),
            began: None,
            waited: Vec::new(),
            frequency_mhz: None,
        };
        watch.look();
        watch
    }

    /// A round begins.
    pub(super) fn round_begins(&mut self) {
        self.began =
            Some(Began { at: Instant::now(), waited_ns: waited_ns(&self.root.join("proc")) });
    }

    /// A round has ended.
    pub(super) fn round_ends(&mut self) {
        let waited = self.began.take().and_then(|began| {
            let ns = waited_ns(&self.root.join("proc"))? - began.waited_ns?;
            let all_ns = began.at.elapsed().as_nanos() as f64 * self.threads as f64;
            Some((ns / all_ns.max(1.0)).clamp(0.0, 1.0))
        });
        self.waited.push(waited);
        self.look();
    }

    fn look(&mut self) {
        self.loop_ms.push(loop_ms(&self.numbers, self.threads));
        if let Some(now) = frequency_mhz(&self.root.join("sys")) {
            let [low, high] = self.frequency_mhz.unwrap_or([now; 2]);
            self.frequency_mhz = Some([low.min(now), high.max(now)]);
        }
    }

    fn fastest_ms(&self) -> f64 {
        self.loop_ms.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// By what share the machine was slower than at its fastest, in each round.
    fn slower(&self) -> impl Iterator<Item = f64> {
        let fastest = self.fastest_ms();
        self.loop_ms.windows(2).map(move |ends| ends[0].max(ends[1]) / fastest - 1.0)
    }

    /// Whether nothing disturbed a round, for each.
    fn quiet(&self) -> impl Iterator<Item = bool> {
        let waited = self.waited.iter().map(|waited| waited.unwrap_or(0.0));
        self.slower().zip(waited).map(|(slower, waited)| slower <= SLOWER && waited <= WAITED)
    }

    /// Rounds that nothing disturbed.
    pub(super) fn quiet_rounds(&self) -> u32 {
        self.quiet().filter(|quiet| *quiet).count() as u32
    }

    /// Which rounds count, where so many are wanted.
    pub(super) fn counted(&self, wanted: u32) -> Vec<bool> {
        let is_quiet = self.quiet_rounds() >= wanted;
        self.quiet().map(|quiet| !is_quiet || quiet).collect()
    }

    /// What there is to tell.
    pub(super) fn machine(&self, wanted: u32) -> Machine {
        let (rounds, quiet) = (self.waited.len() as u32, self.quiet_rounds());
        let now = Ticks::read(&self.root.join("proc"));
        let spent = self.before.zip(now).and_then(|(before, now)| now.since(before));
        let counted = self.waited.iter().zip(self.counted(wanted)).filter(|(_, counts)| *counts);
        let waited: Option<Vec<f64>> = counted.map(|(waited, _)| *waited).collect();
        Machine {
            cpu: cpu(&self.root.join("proc")),
            rounds,
            disturbed_rounds: rounds - quiet,
            is_quiet: quiet >= wanted,
            waited: waited.map(|all| all.iter().sum::<f64>() / all.len().max(1) as f64),
            slowest: self.slower().fold(0.0, f64::max),
            gsteps_per_s: (self.threads * NUMBERS * PASSES) as f64 / self.fastest_ms() / 1e6,
            frequency_mhz: self.frequency_mhz,
            other_load: spent.map(|spent| spent.others() / spent.all),
            stolen: spent.map(|spent| spent.stolen / spent.all),
        }
    }
}

/// For how long all threads of this process could have run and had no CPU, in nanoseconds, since they began.
///
/// Source: Linux `Documentation/scheduler/sched-stats.rst`, `/proc/<pid>/schedstat`.
fn waited_ns(proc: &Path) -> Option<f64> {
    let threads = fs::read_dir(proc.join("self/task")).ok()?;
    let waited = threads.map(|thread| {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<f64>().ok()
    });
    waited.sum()
}

/// Time of a loop on all threads at once, the slowest one's: what the frequency, the other thread of a core, other processes and
/// other machines of the host leave of this one. It computes and reads its core's caches, as much of both at once as it can.
fn loop_ms(numbers: &[u64], threads: usize) -> f64 {
    let middle = || {
        let mut ms = [0.0; TURNS];
        for ms in &mut ms {
            let start = Instant::now();
            let mut sums = [0u64; LANES];
            for _ in 0..PASSES {
                for step in black_box(numbers).as_chunks::<LANES>().0 {
                    for (sum, x) in sums.iter_mut().zip(step) {
                        *sum = sum.rotate_left(7).wrapping_add(*x);
                    }
                }
            }
            black_box(sums);
            *ms = start.elapsed().as_secs_f64() * 1e3;
        }
        ms.sort_by(f64::total_cmp);
        ms[TURNS / 2]
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(middle)).collect();
        let own = middle();
        others.into_iter().filter_map(|thread| thread.join().ok()).fold(own, f64::max)
    })
}

/// The frequency of the fastest CPU, in megahertz.
///
/// Source: Linux `Documentation/admin-guide/pm/cpufreq.rst`.
fn frequency_mhz(sys: &Path) -> Option<f64> {
    let cpus = fs::read_dir(sys.join("devices/system/cpu")).ok()?;
    let khz = cpus.filter_map(|cpu| {
        let text = fs::read_to_string(cpu.ok()?.path().join("cpufreq/scaling_cur_freq")).ok()?;
        text.trim().parse::<f64>().ok()
    });
    khz.map(|khz| khz / 1e3).reduce(f64::max)
}

/// The name of the first CPU.
fn cpu(proc: &Path) -> Option<String> {
    let text = fs::read_to_string(proc.join("cpuinfo")).ok()?;
    let mut fields = text.lines().filter_map(|line| line.split_once(':'));
    let name = fields.find(|(key, _)| key.trim() == "model name")?.1.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// CPU time since the start of the system, or between two moments, in ticks of the clock.
///
/// Source: proc(5).
#[derive(Clone, Copy, Debug, PartialEq)]
struct Ticks {
    all: f64,
    idle: f64,
    stolen: f64,
    own: f64,
}

impl Ticks {
    /// What `proc` says now.
    fn read(proc: &Path) -> Option<Self> {
        let stat = fs::read_to_string(proc.join("stat")).ok()?;
        let first = stat.lines().next()?.strip_prefix("cpu ")?;
        let times = first.split_whitespace().map(str::parse);
        // user, nice, system, idle, iowait, irq, softirq, steal; those of guests are counted under user.
        let times: Vec<f64> = times.take(8).collect::<Result<_, _>>().ok()?;
        let own = fs::read_to_string(proc.join("self/stat")).ok()?;
        // The program's name may hold spaces; behind it utime and stime are the 12th and 13th field.
        let (_, fields) = own.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let own = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(Self {
            all: times.iter().sum(),
            idle: times.get(3)? + times.get(4)?,
            stolen: *times.get(7)?,
            own,
        })
    }

    /// What was spent since; `None` where that is less than the clock tells.
    fn since(self, before: Self) -> Option<Self> {
        let spent = Self {
            all: self.all - before.all,
            idle: self.idle - before.idle,
            stolen: self.stolen - before.stolen,
            own: self.own - before.own,
        };
        (spent.all > 0.0).then_some(spent)
    }

    /// Of other processes.
    fn others(self) -> f64 {
        (self.all - self.idle - self.stolen - self.own).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watch(loop_ms: &[f64], waited: &[f64]) -> Watch {
        let mut watch = Watch::new(Path::new("/nowhere"), 1);
        watch.loop_ms = loop_ms.to_vec();
        watch.waited = waited.iter().map(|waited| Some(*waited)).collect();
        watch
    }

    #[test]
    fn round_beside_a_slow_loop_does_not_count() {
        let watch = watch(&[1.0, 1.04, 1.2, 1.0, 1.01], &[0.0; 4]);
        assert_eq!(watch.quiet_rounds(), 2);
        assert_eq!(watch.counted(2), [true, false, false, true]);
        let machine = watch.machine(2);
        assert_eq!((machine.rounds, machine.disturbed_rounds, machine.is_quiet), (4, 2, true));
        assert!((machine.slowest - 0.2).abs() < 1e-9);
    }

    #[test]
    fn round_in_which_threads_waited_does_not_count() {
        let watch = watch(&[1.0; 4], &[0.01, 0.5, 0.0]);
        assert_eq!(watch.counted(2), [true, false, true]);
        let waited = watch.machine(2).waited.expect("known");
        assert!((waited - 0.005).abs() < 1e-9, "{waited}");
    }

    #[test]
    fn rounds_of_a_machine_that_is_never_quiet_count_all() {
        let watch = watch(&[1.0, 1.2, 1.2, 1.2], &[0.0; 3]);
        assert_eq!(watch.counted(2), [true; 3]);
        assert!(!watch.machine(2).is_quiet);
    }

    #[test]
    fn machine_of_a_system_that_tells_is_told() {
        let root = tempfile::tempdir().expect("writable");
        let write = |name: &str, text: &str| {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a file")).expect("writable");
            fs::write(path, text).expect("writable");
        };
        let stat = |user: u32, idle: u32, steal: u32| {
            write("proc/stat", &format!("cpu  {user} 0 10 {idle} 5 0 0 {steal} 0 0\ncpu0 1 2\n"));
        };
        let own = |user: u32| {
            let before = ["S"; 11].join(" ");
            write("proc/self/stat", &format!("1 (a (b) c) {before} {user} 3 0 0\n"));
        };
        let mhz = |cpu: u32, mhz: u32| {
            let name = format!("sys/devices/system/cpu/cpu{cpu}/cpufreq/scaling_cur_freq");
            write(&name, &format!("{}\n", mhz * 1000));
        };
        let waited = |thread: u32, ns: u64| {
            write(&format!("proc/self/task/{thread}/schedstat"), &format!("7 {ns} 3\n"));
        };
        waited(1, 5);
        write("proc/cpuinfo", "processor : 0\nmodel name\t: Some CPU\nmodel name : Other\n");
        stat(100, 1000, 0);
        own(50);
        mhz(0, 2000);
        mhz(1, 3000);
        let mut watch = Watch::new(root.path(), 1);
        watch.round_begins();
        waited(1, 1_000_000_000_000);
        waited(2, 1_000_000_000_000);
        stat(180, 1010, 10);
        own(110);
        mhz(1, 2500);
        watch.round_ends();
        let machine = watch.machine(1);
        assert_eq!(machine.cpu.as_deref(), Some("Some CPU"));
        assert_eq!(machine.frequency_mhz, Some([2500.0, 3000.0]));
        assert_eq!(machine.waited, Some(1.0), "no more than all of the time");
        assert_eq!((machine.other_load, machine.stolen), (Some(0.2), Some(0.1)));
    }

    #[test]
    fn machine_of_a_system_that_tells_nothing_is_not_known() {
        let mut watch = Watch::new(Path::new("/nowhere"), 1);
        watch.round_begins();
        watch.round_ends();
        let machine = watch.machine(1);
        assert_eq!((machine.cpu, machine.frequency_mhz), (None, None));
        assert_eq!((machine.other_load, machine.waited), (None, None));
    }
}
