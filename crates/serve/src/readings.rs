//! What the machine's sensors told in the last hour.
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Readings that are kept for whoever looks: those of the last hour.
const KEPT: usize = 1800;

/// The machine at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Reading {
    /// When, in seconds since 1970.
    pub time: f64,
    /// The hottest part, in degrees Celsius; none where no sensor tells.
    pub temperature_c: Option<f64>,
    /// The mean clock of the cores, in MHz; none where it is not told.
    pub clock_mhz: Option<f64>,
    /// Processes that run or wait for a core, over the number of cores.
    pub load: Option<f64>,
    /// Resident memory of this process.
    pub rss_bytes: Option<u64>,
    /// Resident memory of the decoders.
    pub decoders_rss_bytes: u64,
    /// The least time between two frames of a source, by which heat is kept down.
    pub pause_ms: f64,
}

/// Readings of the last hour.
#[derive(Debug, Default)]
pub struct Machine {
    readings: Mutex<VecDeque<Reading>>,
}

impl Machine {
    fn readings(&self) -> MutexGuard<'_, VecDeque<Reading>> {
        self.readings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last reading.
    pub fn latest(&self) -> Option<Reading> {
        self.readings().back().copied()
    }

    /// The readings of the last hour, the oldest first, every so many of them.
    pub fn history(&self, step: usize) -> Vec<Reading> {
        let readings = self.readings();
        // From the newest back, so that a graph's end does not jump.
        let mut some: Vec<Reading> = readings.iter().rev().step_by(step.max(1)).copied().collect();
        some.reverse();
        some
    }

    pub(crate) fn push(&self, reading: Reading) {
        let mut readings = self.readings();
        if readings.len() == KEPT {
            readings.pop_front();
        }
        readings.push_back(reading);
    }
}
