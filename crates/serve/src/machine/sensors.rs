//! What Linux tells of heat, clock and memory, in `/sys` and `/proc`. Elsewhere, and where a virtual machine tells nothing, there are
//! no readings.
use std::fs;
use std::path::{Path, PathBuf};

/// What Linux counts processor time in, towards programs, on every machine.
const TICKS_A_SECOND: f64 = 100.0;

/// Where readings are found.
#[derive(Debug)]
pub(crate) struct Sensors {
    root: PathBuf,
}

impl Sensors {
    pub(crate) fn of_this_machine() -> Self {
        Self::at("/".into())
    }

    /// Below a folder that looks like the root of a machine.
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The hottest thermal zone, in degrees Celsius.
    pub(crate) fn temperature_c(&self) -> Option<f64> {
        let temperatures = self.zones().filter_map(|zone| number(&zone.join("temp")));
        // A zone without a sensor behind it tells nonsense.
        let real = temperatures.map(|milli| milli / 1e3).filter(|c| (-40.0..150.0).contains(c));
        real.max_by(f64::total_cmp)
    }

    /// From which temperature on the machine lowers its clock by itself, in degrees Celsius.
    pub(crate) fn throttles_c(&self) -> Option<f64> {
        let of_zone = |zone: PathBuf| {
            let trip = |i: usize| {
                let kind = fs::read_to_string(zone.join(format!("trip_point_{i}_type"))).ok()?;
                let at = number(&zone.join(format!("trip_point_{i}_temp")))?;
                (kind.trim() == "passive" && at > 0.0).then_some(at / 1e3)
            };
            (0..12).filter_map(trip).min_by(f64::total_cmp)
        };
        self.zones().filter_map(of_zone).min_by(f64::total_cmp)
    }

    fn zones(&self) -> impl Iterator<Item = PathBuf> + use<> {
        folders(&self.root.join("sys/class/thermal"), "thermal_zone")
    }

    /// The mean clock of the cores, in MHz.
    pub(crate) fn clock_mhz(&self) -> Option<f64> {
        let cores = folders(&self.root.join("sys/devices/system/cpu"), "cpu");
        let khz = cores.filter_map(|core| number(&core.join("cpufreq/scaling_cur_freq")));
        let clocks: Vec<f64> = khz.map(|khz| khz / 1e3).collect();
        let clocks = if clocks.is_empty() { self.clocks_of_cpuinfo() } else { clocks };
        (!clocks.is_empty()).then(|| clocks.iter().sum::<f64>() / clocks.len() as f64)
    }

    fn clocks_of_cpuinfo(&self) -> Vec<f64> {
        let text = fs::read_to_string(self.root.join("proc/cpuinfo")).unwrap_or_default();
        let lines = text.lines().filter(|line| line.starts_with("cpu MHz"));
        lines.filter_map(|line| line.split_once(':')?.1.trim().parse().ok()).collect()
    }

    /// Processes that run or wait for a core in the last minute, over the number of cores.
    pub(crate) fn load(&self) -> Option<f64> {
        let text = fs::read_to_string(self.root.join("proc/loadavg")).ok()?;
        let load: f64 = text.split(' ').next()?.parse().ok()?;
        let cores = std::thread::available_parallelism().ok()?.get();
        Some(load / cores as f64)
    }

    /// Time of cores that a process took since its start, in seconds.
    pub(crate) fn cpu_s(&self, process: &str) -> Option<f64> {
        let text = fs::read_to_string(self.root.join("proc").join(process).join("stat")).ok()?;
        // The name before them may hold spaces and parentheses.
        let (_, fields) = text.rsplit_once(") ")?;
        let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<f64>().ok());
        Some(ticks.sum::<Option<f64>>()? / TICKS_A_SECOND)
    }

    /// Resident memory of a process, by its number or `self`.
    pub(crate) fn rss_bytes(&self, process: &str) -> Option<u64> {
        let text = fs::read_to_string(self.root.join("proc").join(process).join("status")).ok()?;
        let resident = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib << 10)
    }
}

fn number(path: &Path) -> Option<f64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// Folders whose names are a word and a number.
fn folders(parent: &Path, word: &'static str) -> impl Iterator<Item = PathBuf> + use<> {
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(move |path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let number = name.strip_prefix(word).unwrap_or_default();
        !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn sensors_of_a_machine_with_zones_and_clocks_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        write(root, "sys/class/thermal/thermal_zone0/temp", "48000\n");
        write(root, "sys/class/thermal/thermal_zone1/temp", "61500\n");
        write(root, "sys/class/thermal/thermal_zone2/temp", "-274000\n");
        write(root, "sys/class/thermal/thermal_zone1/trip_point_0_type", "critical\n");
        write(root, "sys/class/thermal/thermal_zone1/trip_point_0_temp", "105000\n");
        write(root, "sys/class/thermal/thermal_zone1/trip_point_1_type", "passive\n");
        write(root, "sys/class/thermal/thermal_zone1/trip_point_1_temp", "95000\n");
        write(root, "sys/class/thermal/cooling_device0/temp", "99000\n");
        write(root, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "1000000\n");
        write(root, "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "3000000\n");
        write(root, "sys/devices/system/cpu/cpufreq/scaling_cur_freq", "9\n");
        write(root, "proc/self/status", "VmPeak:\t 900 kB\nVmRSS:\t     100 kB\n");
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0\n";
        write(root, "proc/7/stat", stat);
        let sensors = Sensors::at(root.to_path_buf());
        assert_eq!(sensors.cpu_s("7"), Some(2.0));
        assert_eq!(sensors.temperature_c(), Some(61.5));
        assert_eq!(sensors.throttles_c(), Some(95.0));
        assert_eq!(sensors.clock_mhz(), Some(2000.0));
        assert_eq!(sensors.rss_bytes("self"), Some(102_400));
    }

    #[test]
    fn sensors_of_a_machine_that_tells_nothing_give_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let sensors = Sensors::at(dir.path().to_path_buf());
        assert_eq!(sensors.temperature_c(), None);
        assert_eq!(sensors.clock_mhz(), None);
        assert_eq!(sensors.rss_bytes("1"), None);
        write(dir.path(), "proc/cpuinfo", "cpu MHz\t\t: 2100.5\nmodel : x\ncpu MHz : 2099.5\n");
        assert_eq!(sensors.clock_mhz(), Some(2100.0));
    }
}
