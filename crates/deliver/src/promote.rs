//! An alias moves on when enough devices say, under their own keys, that what it is to name holds.
use crate::status::{self, Failed, SignedStatus, Stage, Status};
use crate::store::Store;
use crate::{DeliverError, Digest, PublicKeys};
use serde::Serialize;
use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

/// A report that is older says nothing about how a device is now: devices report once an hour.
pub const OLDEST_S: u64 = 3 * 3600;

/// What is to be promoted, and on which terms.
#[derive(Clone, Debug)]
pub struct Terms<'a> {
    /// The tag that names it.
    pub from: &'a str,
    /// The tag that is to name it too.
    pub to: &'a str,
    /// How many devices must report it to be healthy.
    pub healthy: usize,
    /// Whether devices on which it failed are passed over.
    pub despite_rollbacks: bool,
}

/// What a device's report means here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Meaning {
    /// It uses this bundle, which has held.
    Healthy,
    /// The same, by a key that has been counted for another device.
    SameKey,
    /// The same, but too long ago.
    Stale,
    /// It has not come so far: it uses another one, or is in its probation.
    Waiting,
    /// It tried this bundle, and does not take it.
    Failed,
    /// It refused this bundle unseen: its keys, its version, its target.
    Refused,
    /// The report cannot be believed.
    Unbelieved,
}

impl Meaning {
    /// In a word or two.
    pub fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::SameKey => "same key",
            Self::Stale => "stale",
            Self::Waiting => "waiting",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Unbelieved => "unbelieved",
        }
    }
}

/// What one device says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceReport {
    /// The tag of its report.
    pub tag: String,
    /// What it means here.
    pub meaning: Meaning,
    /// In words.
    pub why: String,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Promotion {
    /// The manifest that is to be promoted.
    pub manifest: Digest,
    /// What the devices say, by their tags.
    pub devices: Vec<DeviceReport>,
    /// How many devices report it to be healthy.
    pub healthy: usize,
    /// Whether the tag names it now.
    pub promoted: bool,
    /// Why not.
    pub refused: Option<String>,
}

/// Lets a tag name what another one names, if enough devices report that it holds. Without `keys` nobody is asked, which
/// is right only where none need to be healthy.
///
/// # Errors
/// `Missing`; what the store says.
pub fn promote(
    store: &dyn Store,
    terms: &Terms<'_>,
    keys: Option<&PublicKeys>,
) -> Result<Promotion, DeliverError> {
    let missing =
        || DeliverError::Missing { store: store.name(), what: format!("tag {}", terms.from) };
    let manifest = store.manifest_of_tag(terms.from)?.ok_or_else(missing)?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let mut judge = Judge { manifest: manifest.digest, now_s, counted: BTreeSet::new() };
    let mut devices = Vec::new();
    if let Some(keys) = keys {
        for tag in store.tags()?.into_iter().filter(|tag| tag.starts_with(status::TAG_PREFIX)) {
            match status::pull(store, &tag, keys) {
                Ok(Some(signed)) => devices.push(judge.report(tag, &signed)),
                Ok(None) => {}
                Err(error @ DeliverError::Report { .. }) => devices.push(DeviceReport {
                    tag,
                    meaning: Meaning::Unbelieved,
                    why: error.to_string(),
                }),
                Err(error) => return Err(error),
            }
        }
    }
    let count = |meaning| devices.iter().filter(|device| device.meaning == meaning).count();
    let (healthy, failed) = (count(Meaning::Healthy), count(Meaning::Failed));
    let refused = if failed > 0 && !terms.despite_rollbacks {
        Some(format!("it failed on {failed} devices"))
    } else if healthy < terms.healthy {
        Some(format!("{healthy} devices report it to be healthy, and {} must", terms.healthy))
    } else {
        None
    };
    if refused.is_none() {
        // By the bytes that were judged: the other tag may have moved on meanwhile.
        store.push_manifest(terms.to, &manifest)?;
    }
    let promoted = refused.is_none();
    Ok(Promotion { manifest: manifest.digest, devices, healthy, promoted, refused })
}

struct Judge {
    manifest: Digest,
    now_s: u64,
    /// Keys of devices that count as healthy: one key vouches for one device, however many it signs for.
    counted: BTreeSet<String>,
}

impl Judge {
    fn report(&mut self, tag: String, signed: &SignedStatus) -> DeviceReport {
        let Judged { meaning, why } = self.judge(signed);
        DeviceReport { tag, meaning, why }
    }

    fn judge(&mut self, signed: &SignedStatus) -> Judged {
        let status = &signed.status;
        let age_s = self.now_s.saturating_sub(status.time_s);
        if let Some(failed) = self.failure(status) {
            let meaning =
                if failed.stage == Stage::Refused { Meaning::Refused } else { Meaning::Failed };
            return Judged { meaning, why: failed.why.clone() };
        }
        let running = status.running.as_ref().filter(|r| r.manifest == Some(self.manifest));
        let Some(running) = running.filter(|_| status.healthy) else {
            return Judged { meaning: Meaning::Waiting, why: waiting(status) };
        };
        if age_s > OLDEST_S {
            let why = format!("it said so {} hours ago", age_s / 3600);
            return Judged { meaning: Meaning::Stale, why };
        }
        if !self.counted.insert(signed.key.clone()) {
            let why =
                format!("key {} has signed for another device: give each its own", signed.key);
            return Judged { meaning: Meaning::SameKey, why };
        }
        let why = format!("version {} of {} holds", running.version, running.name);
        Judged { meaning: Meaning::Healthy, why }
    }

    /// What failed, where it is this bundle.
    fn failure<'a>(&self, status: &'a Status) -> Option<&'a Failed> {
        status.failed.as_ref().filter(|failed| failed.manifest == self.manifest)
    }
}

struct Judged {
    meaning: Meaning,
    why: String,
}

fn waiting(status: &Status) -> String {
    let running = status.running.as_ref();
    let uses =
        running.map_or("nothing".to_owned(), |r| format!("version {} of {}", r.version, r.name));
    let how = if status.probation { ", in probation" } else { "" };
    let error = status.error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
    format!("it uses {uses}{how}{error}")
}

#[cfg(test)]
mod tests;
