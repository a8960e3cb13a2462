//! The machine's heat, clock and memory, and what is done when it becomes too hot or the process too large.
mod sensors;

use crate::context::Context;
use crate::message::{MachineEvent, Message, Trouble, unix_s};
use crate::readings::Reading;
use crate::settings::WatchdogSettings;
pub(crate) use sensors::Sensors;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often the machine is looked at.
const INTERVAL: Duration = Duration::from_secs(2);

/// Where the machine does not say from where on it throttles.
const USUALLY_HOT_C: f64 = 85.0;

/// Rates are lowered this far below where the machine throttles by itself, and raised again this far below that.
const MARGIN_C: f64 = 5.0;

/// The first pause between two frames of a source, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(40), Duration::from_secs(2)];

/// A clock below this share of the highest one seen, at a high load, is a clock that was lowered.
const LOWERED: f64 = 0.7;

/// Memory is compared with what it was so long after the start.
const WARM_UP: Duration = Duration::from_secs(600);

/// Resident memory that grew by this factor since then is told.
const GROWN: f64 = 1.5;

/// Work that waits for so long without any being done is stuck.
const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Looks after the machine until everything ends.
pub(crate) async fn watch(context: Arc<Context>) {
    let sensors = Sensors::of_this_machine();
    let mut keeper = Keeper::new(&context.settings.watchdog, &sensors);
    let mut progress = (0, Instant::now());
    let ready = [sd_notify::NotifyState::Ready];
    // Without systemd nobody listens, which is no error.
    let _ = sd_notify::notify(&ready);
    while !context.hub.is_stopping() {
        let reading = read(&context, &sensors, keeper.pause);
        for event in keeper.judge(&reading, context.hub.started.elapsed()) {
            context.hub.tell(Message::Machine(Arc::new(event)));
        }
        context.hub.dispatch.set_pause(keeper.pause);
        context.hub.machine.push(reading);
        if keeper.is_too_large(&reading) {
            context.hub.fail();
        }
        let turns = context.hub.dispatch.turns();
        if turns != progress.0 || !context.hub.dispatch.has_work() {
            progress = (turns, Instant::now());
        }
        notify(&context, progress.1.elapsed() < STUCK_AFTER);
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            () = context.hub.stopped() => {}
        }
    }
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
}

/// Tells systemd how it goes; the watchdog only while work is done, so that it starts what is stuck anew.
fn notify(context: &Context, alive: bool) {
    let live = context.hub.sources.iter().filter(|s| s.state().name() == "live").count();
    let all = context.hub.sources.len();
    let status = format!("{live} of {all} sources live");
    let mut states = vec![sd_notify::NotifyState::Status(&status)];
    if alive {
        states.push(sd_notify::NotifyState::Watchdog);
    }
    let _ = sd_notify::notify(&states);
}

fn read(context: &Context, sensors: &Sensors, pause: Duration) -> Reading {
    let decoders = context.hub.sources.iter().filter_map(|source| source.report().decoder_pid);
    Reading {
        time: unix_s(SystemTime::now()),
        temperature_c: sensors.temperature_c(),
        clock_mhz: sensors.clock_mhz(),
        load: sensors.load(),
        rss_bytes: sensors.rss_bytes("self"),
        decoders_rss_bytes: decoders.filter_map(|pid| sensors.rss_bytes(&pid.to_string())).sum(),
        pause_ms: pause.as_secs_f64() * 1e3,
    }
}

/// Decides what is done about what is read.
#[derive(Debug)]
struct Keeper {
    hot_c: f64,
    lower_rate: bool,
    max_memory_bytes: Option<u64>,
    pause: Duration,
    highest_mhz: f64,
    warm_rss_bytes: Option<u64>,
    told: Vec<Trouble>,
}

impl Keeper {
    fn new(settings: &WatchdogSettings, sensors: &Sensors) -> Self {
        let throttles_c = sensors.throttles_c().map(|c| c - MARGIN_C);
        Self {
            hot_c: settings.hot_c.or(throttles_c).unwrap_or(USUALLY_HOT_C),
            lower_rate: settings.lower_rate,
            max_memory_bytes: settings.max_memory_mb.map(|mb| mb << 20),
            pause: Duration::ZERO,
            highest_mhz: 0.0,
            warm_rss_bytes: None,
            told: Vec::new(),
        }
    }

    /// Takes a reading: sets the pause, and gives what is to be told.
    fn judge(&mut self, reading: &Reading, up: Duration) -> Vec<MachineEvent> {
        let temperature_c = reading.temperature_c;
        let hot = temperature_c.is_some_and(|c| c >= self.hot_c);
        let cool = temperature_c.is_none_or(|c| c < self.hot_c - MARGIN_C);
        self.highest_mhz = self.highest_mhz.max(reading.clock_mhz.unwrap_or(0.0));
        let busy = reading.load.is_some_and(|load| load >= 1.0);
        let lowered = busy && reading.clock_mhz.is_some_and(|mhz| mhz < LOWERED * self.highest_mhz);
        if up >= WARM_UP && self.warm_rss_bytes.is_none() {
            self.warm_rss_bytes = reading.rss_bytes;
        }
        let rss = reading.rss_bytes.zip(self.warm_rss_bytes);
        let grown = rss.is_some_and(|(now, warm)| now as f64 > GROWN * warm as f64);
        if self.lower_rate {
            let [first, longest] = PAUSES;
            if hot {
                self.pause = self.pause.mul_f64(1.25).clamp(first, longest);
            } else if cool && !self.pause.is_zero() {
                let shorter = self.pause.mul_f64(0.8);
                self.pause = if shorter < first { Duration::ZERO } else { shorter };
            }
        }
        let number = |value: Option<f64>| value.map_or("unknown".to_owned(), |v| format!("{v:.0}"));
        let (degrees, mhz) = (number(temperature_c), number(reading.clock_mhz));
        let rss_mb = reading.rss_bytes.unwrap_or(0) >> 20;
        let mut events = Vec::new();
        // What is hot stays so until it is cool: a value between the two changes nothing.
        let is_hot = hot || (!cool && self.told.contains(&Trouble::Hot));
        let states = [
            (Trouble::Hot, is_hot, format!("{degrees} °C, hot from {:.0} on", self.hot_c)),
            (
                Trouble::Throttled,
                lowered,
                format!("{mhz} MHz under load, {:.0} before", self.highest_mhz),
            ),
            (Trouble::Memory, grown, format!("{rss_mb} MB resident")),
        ];
        for (trouble, is, detail) in states {
            if is != self.told.contains(&trouble) {
                if is {
                    self.told.push(trouble);
                } else {
                    self.told.retain(|told| *told != trouble);
                }
                events.push(MachineEvent { time: reading.time, trouble, over: !is, detail });
            }
        }
        events
    }

    fn is_too_large(&self, reading: &Reading) -> bool {
        self.max_memory_bytes.zip(reading.rss_bytes).is_some_and(|(most, now)| now > most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper() -> Keeper {
        Keeper::new(&WatchdogSettings::default(), &Sensors::at("/no/such/folder".into()))
    }

    fn reading(temperature_c: f64, clock_mhz: f64, rss_bytes: u64) -> Reading {
        Reading {
            time: 0.0,
            temperature_c: Some(temperature_c),
            clock_mhz: Some(clock_mhz),
            load: Some(1.0),
            rss_bytes: Some(rss_bytes),
            decoders_rss_bytes: 0,
            pause_ms: 0.0,
        }
    }

    fn told(events: &[MachineEvent]) -> Vec<(Trouble, bool)> {
        events.iter().map(|event| (event.trouble, event.over)).collect()
    }

    #[test]
    fn judge_of_heat_lowers_the_rate_until_it_is_cool_and_tells_it_once() {
        let mut keeper = keeper();
        let up = Duration::ZERO;
        assert_eq!(told(&keeper.judge(&reading(70.0, 3000.0, 1), up)), []);
        assert_eq!(keeper.pause, Duration::ZERO);
        assert_eq!(told(&keeper.judge(&reading(86.0, 3000.0, 1), up)), [(Trouble::Hot, false)]);
        let first = keeper.pause;
        assert_eq!(told(&keeper.judge(&reading(86.0, 3000.0, 1), up)), []);
        assert!(keeper.pause > first && first >= PAUSES[0]);
        let held = keeper.pause;
        assert_eq!(told(&keeper.judge(&reading(82.0, 3000.0, 1), up)), []);
        assert_eq!(keeper.pause, held);
        assert_eq!(told(&keeper.judge(&reading(79.0, 3000.0, 1), up)), [(Trouble::Hot, true)]);
        for _ in 0..20 {
            keeper.judge(&reading(60.0, 3000.0, 1), up);
        }
        assert_eq!(keeper.pause, Duration::ZERO);
        for _ in 0..100 {
            keeper.judge(&reading(90.0, 3000.0, 1), up);
        }
        assert_eq!(keeper.pause, PAUSES[1]);
    }

    #[test]
    fn judge_of_a_clock_that_falls_under_load_and_of_memory_that_grows_tells_both() {
        let mut keeper = keeper();
        keeper.judge(&reading(60.0, 3000.0, 1000), WARM_UP);
        let events = keeper.judge(&reading(60.0, 2000.0, 1000), WARM_UP);
        assert_eq!(told(&events), [(Trouble::Throttled, false)]);
        let events = keeper.judge(&reading(60.0, 2900.0, 1600), WARM_UP);
        assert_eq!(told(&events), [(Trouble::Throttled, true), (Trouble::Memory, false)]);
        let idle = Reading { load: Some(0.1), ..reading(60.0, 800.0, 1000) };
        assert_eq!(told(&keeper.judge(&idle, WARM_UP)), [(Trouble::Memory, true)]);
    }
}
