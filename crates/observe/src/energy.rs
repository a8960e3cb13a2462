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
pub(crate) struct EnergyMeter {
    counters: Vec<Counter>,
    /// What they said last, in microjoules.
    last_uj: Vec<u64>,
}

impl EnergyMeter {
    /// The counters under `sys` (`/sys`); `None` where there are none that this user may read.
    pub(crate) fn open(sys: &Path) -> Option<Self> {
        let mut counters = packages(&sys.join("class/powercap"));
        if counters.is_empty() {
            counters = sockets(&sys.join("class/hwmon"));
        }
        let last_uj = counters.iter().map(|c| read(&c.path));
        let last_uj: Vec<u64> = last_uj.collect::<Option<_>>()?;
        (!counters.is_empty()).then_some(Self { counters, last_uj })
    }

    /// Energy since the last call or the opening, in joules; `None` when a counter has become unreadable.
    ///
    /// A counter that starts anew more than once in between tells too little.
    pub(crate) fn joules(&mut self) -> Option<f64> {
        let mut spent_uj = 0;
        for (counter, last) in self.counters.iter().zip(&mut self.last_uj) {
            let now = read(&counter.path)?;
            spent_uj += match counter.wraps_at_uj {
                Some(range) if now < *last => now + range.saturating_sub(*last),
                _ => now.saturating_sub(*last),
            };
            *last = now;
        }
        Some(spent_uj as f64 / 1e6)
    }
}

/// Zones named `package-0` and so on. Others are parts of one (`core`, `dram`) or hold it (`psys`, the whole platform).
fn packages(powercap: &Path) -> Vec<Counter> {
    let zones = entries(powercap).into_iter().filter_map(|zone| {
        let name = fs::read_to_string(zone.join("name")).ok()?;
        let path = zone.join("energy_uj");
        // `intel-rapl-mmio:0` counts the package of `intel-rapl:0` once more.
        let is_double = zone.file_name()?.to_str()?.contains("mmio");
        if is_double || !name.starts_with("package") {
            return None;
        }
        read(&path)?;
        let wraps_at_uj = read(&zone.join("max_energy_range_uj"));
        Some(Counter { path, wraps_at_uj })
    });
    zones.collect()
}

/// Sensors labelled `Esocket0` and so on (`amd_energy`). Others are cores, graphics cards, boards.
fn sockets(hwmon: &Path) -> Vec<Counter> {
    let files = entries(hwmon).into_iter().flat_map(|chip| entries(&chip));
    let sensors = files.filter_map(|label| {
        let sensor = label.to_str()?.strip_suffix("_label")?;
        if !fs::read_to_string(&label).ok()?.starts_with("Esocket") {
            return None;
        }
        let path = PathBuf::from(format!("{sensor}_input"));
        read(&path)?;
        Some(Counter { path, wraps_at_uj: None })
    });
    sensors.collect()
}

/// What a folder holds, sorted; nothing where it is not readable.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|e| e.path()).collect();
    paths.sort();
    paths
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
        let named = [
            ("intel-rapl:0", "package-0"),
            ("intel-rapl:0:0", "core"),
            ("intel-rapl:1", "package-1"),
            ("intel-rapl:2", "psys"),
            ("intel-rapl-mmio:0", "package-0"),
        ];
        for (n, name) in named {
            zone(n, "name", &format!("{name}\n"));
            zone(n, "energy_uj", "0\n");
        }
        zone("intel-rapl:0", "energy_uj", "9000000\n");
        zone("intel-rapl:0", "max_energy_range_uj", "10000000\n");
        let mut meter = EnergyMeter::open(sys.path()).expect("two packages");
        for n in ["intel-rapl:0:0", "intel-rapl:2", "intel-rapl-mmio:0"] {
            zone(n, "energy_uj", "7000000");
        }
        zone("intel-rapl:0", "energy_uj", "1000000");
        zone("intel-rapl:1", "energy_uj", "500000");
        assert_eq!(meter.joules(), Some(2.5));
        zone("intel-rapl:0", "energy_uj", "1250000");
        assert_eq!(meter.joules(), Some(0.25), "since the last call");
    }

    #[test]
    fn meter_of_sensors_counts_sockets_alone() {
        let sys = tempfile::tempdir().expect("writable");
        let sensor = |file: &str, label: &str, uj: &str| {
            put(sys.path(), &format!("class/hwmon/{file}_label"), &format!("{label}\n"));
            put(sys.path(), &format!("class/hwmon/{file}_input"), uj);
        };
        sensor("hwmon0/energy1", "Ecore000", "5");
        sensor("hwmon0/energy9", "Esocket0", "1000000");
        put(sys.path(), "class/hwmon/hwmon1/name", "i915\n");
        put(sys.path(), "class/hwmon/hwmon1/energy1_input", "0");
        let mut meter = EnergyMeter::open(sys.path()).expect("a socket");
        sensor("hwmon0/energy9", "Esocket0", "4000000");
        put(sys.path(), "class/hwmon/hwmon1/energy1_input", "9000000");
        assert_eq!(meter.joules(), Some(3.0));
    }

    #[test]
    fn meter_without_counters_is_not_available() {
        let sys = tempfile::tempdir().expect("writable");
        assert!(EnergyMeter::open(sys.path()).is_none());
    }
}
