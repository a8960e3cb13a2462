//! Energy that the processor counts, where the system lets it be read.

use std::fs;
use std::path::{Path, PathBuf};

/// One counter of the system.
#[derive(Debug)]
struct Counter {
    path: PathBuf,
    /// Where the counter starts anew, in microjoules.
    wraps_at_uj: Option<u64>,
}

/// Counters of all processor packages: RAPL (powercap), else hwmon.
///
/// Source: Linux `Documentation/power/powercap/powercap.rst`, `Documentation/hwmon/sysfs-interface.rst`.
#[derive(Debug)]
pub struct EnergyMeter {
    counters: Vec<Counter>,
}

/// A reading of the counters.
#[derive(Clone, Debug)]
pub struct EnergyReading(Vec<u64>);

impl EnergyMeter {
    /// The counters under `sys` (`/sys`); `None` where there are none that this user may read.
    pub fn open(sys: &Path) -> Option<Self> {
        let packages = |p: &Path| {
            // `intel-rapl:0` is a package, `intel-rapl:0:1` a part of it.
            let name = p.file_name()?.to_str()?;
            let package = name.contains("-rapl:") && name.matches(':').count() == 1;
            package.then(|| p.join("energy_uj"))
        };
        let sensors = |p: &Path| Some(p.join("energy1_input"));
        let of = |folder: &str, file: &dyn Fn(&Path) -> Option<PathBuf>| -> Vec<Counter> {
            let mut entries: Vec<PathBuf> = fs::read_dir(sys.join(folder))
                .map(|entries| entries.flatten().map(|e| e.path()).collect())
                .unwrap_or_default();
            entries.sort();
            let counter = |p: &PathBuf| {
                let path = file(p)?;
                read(&path)?;
                let wraps_at_uj = read(&p.join("max_energy_range_uj"));
                Some(Counter { path, wraps_at_uj })
            };
            entries.iter().filter_map(counter).collect()
        };
        let mut counters = of("class/powercap", &packages);
        if counters.is_empty() {
            counters = of("class/hwmon", &sensors);
        }
        (!counters.is_empty()).then_some(Self { counters })
    }

    /// Reads the counters; `None` when one has become unreadable.
    pub fn read(&self) -> Option<EnergyReading> {
        let values = self.counters.iter().map(|c| read(&c.path));
        values.collect::<Option<_>>().map(EnergyReading)
    }

    /// Energy between two readings, in joules.
    pub fn joules(&self, before: &EnergyReading, after: &EnergyReading) -> f64 {
        let spent = |((c, b), a): ((&Counter, &u64), &u64)| match c.wraps_at_uj {
            Some(range) if a < b => a + range.saturating_sub(*b),
            _ => a.saturating_sub(*b),
        };
        let pairs = self.counters.iter().zip(&before.0).zip(&after.0);
        pairs.map(spent).sum::<u64>() as f64 / 1e6
    }
}

fn read(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().expect("files have folders")).expect("writable");
        fs::write(path, text).expect("writable");
    }

    #[test]
    fn meter_of_two_packages_adds_them_and_knows_the_wrap() {
        let sys = tempfile::tempdir().expect("writable");
        let zone = |n: &str, file: &str, text: &str| {
            put(sys.path(), &format!("class/powercap/{n}/{file}"), text);
        };
        zone("intel-rapl:0", "energy_uj", "9000000\n");
        zone("intel-rapl:0", "max_energy_range_uj", "10000000\n");
        zone("intel-rapl:1", "energy_uj", "0");
        zone("intel-rapl:0:0", "energy_uj", "77");
        let meter = EnergyMeter::open(sys.path()).expect("two packages");
        let before = meter.read().expect("readable");
        zone("intel-rapl:0", "energy_uj", "1000000");
        zone("intel-rapl:1", "energy_uj", "500000");
        let after = meter.read().expect("readable");
        assert_eq!(meter.joules(&before, &after), 2.5);
    }

    #[test]
    fn meter_without_counters_is_not_available() {
        let sys = tempfile::tempdir().expect("writable");
        assert!(EnergyMeter::open(sys.path()).is_none());
    }
}
