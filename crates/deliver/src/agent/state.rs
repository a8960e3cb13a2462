//! What the agent must not forget: what the slots hold, the highest version it ever took, and what failed here.
use super::folder::{Slot, StateFolder};
use super::server::Level;
use crate::status::{Failed, Stage};
use crate::{DeliverError, Digest, PublicKeys};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

/// The file of it.
const STATE: &str = "state.json";
/// The number of the format.
const FORMAT: u32 = 1;

/// What the agent must not forget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct State {
    yoloslim_agent: u32,
    /// The highest version that was ever taken.
    pub(crate) highest: Option<Highest>,
    a: Option<Installed>,
    b: Option<Installed>,
    /// What the alias named when it failed here; not tried again before the alias names something else.
    pub(crate) failed: Option<Failed>,
    /// How often a bundle was taken back.
    pub(crate) rollbacks: u64,
}

/// The highest version that was ever taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Highest {
    pub(crate) version: u64,
    pub(crate) bundle: Digest,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Installed {
    /// Digest of the OCI manifest by which it came; none where that was forgotten.
    pub(crate) manifest: Option<Digest>,
    /// Digest of its `bundle.json`.
    pub(crate) bundle: Digest,
    /// The version as which it is signed.
    pub(crate) version: u64,
    /// Whether it has passed its probation.
    pub(crate) proven: bool,
    /// How `serve` was just before: what a bundle is not to be blamed for.
    pub(crate) before: Level,
}

impl Default for State {
    fn default() -> Self {
        Self { yoloslim_agent: FORMAT, highest: None, a: None, b: None, failed: None, rollbacks: 0 }
    }
}

impl State {
    /// Reads the state; where it is not there or damaged, it is made of what the slots hold, and the second value says so.
    ///
    /// # Errors
    /// `Read` where the system refuses.
    pub(crate) fn load(folder: &StateFolder, keys: &PublicKeys) -> Result<Loaded, DeliverError> {
        let path = folder.root().join(STATE);
        let why = match fs::read(&path) {
            Ok(bytes) => match Self::parse(&bytes) {
                Ok(state) => return Ok(Loaded { state, rebuilt: None }),
                Err(why) => why,
            },
            Err(e) if e.kind() == io::ErrorKind::NotFound => "is not there".to_owned(),
            Err(e) => return Err(DeliverError::read(&path, e)),
        };
        let state = Self::rebuild(folder, keys)?;
        // A new device has nothing to be told of.
        let rebuilt = (state != Self::default() || path.exists())
            .then(|| format!("{} {why}: made anew of what the slots hold", path.display()));
        Ok(Loaded { state, rebuilt })
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let state: Self = serde_json::from_slice(bytes).map_err(|e| format!("is damaged ({e})"))?;
        if state.yoloslim_agent != FORMAT {
            return Err(format!("has the format {}, not {FORMAT}", state.yoloslim_agent));
        }
        Ok(state)
    }

    /// Of the bundles that are whole and signed. The one in use has its probation again: nobody knows whether it had one.
    fn rebuild(folder: &StateFolder, keys: &PublicKeys) -> Result<Self, DeliverError> {
        let current = folder.current()?;
        let mut state = Self::default();
        for slot in [Slot::A, Slot::B] {
            let Ok(bundle) = folder.bundle(slot) else { continue };
            let Ok(signed) = bundle.verify(keys) else { continue };
            let (version, bundle) = (signed.version, bundle.digest);
            let (proven, before) = (current != Some(slot), Level::Down);
            state.set(slot, Some(Installed { manifest: None, bundle, version, proven, before }));
            if state.highest.is_none_or(|highest| highest.version < version) {
                state.highest = Some(Highest { version, bundle });
            }
        }
        Ok(state)
    }

    /// Writes the state.
    ///
    /// # Errors
    /// `Write`.
    pub(crate) fn store(&self, folder: &StateFolder) -> Result<(), DeliverError> {
        // No key of it is anything but a string: this cannot fail.
        folder.write(STATE, serde_json::to_string_pretty(self).unwrap_or_default().as_bytes())
    }

    /// What a slot holds.
    pub(crate) fn installed(&self, slot: Slot) -> Option<Installed> {
        match slot {
            Slot::A => self.a,
            Slot::B => self.b,
        }
    }

    /// Notes what a slot holds.
    pub(crate) fn set(&mut self, slot: Slot, installed: Option<Installed>) {
        match slot {
            Slot::A => self.a = installed,
            Slot::B => self.b = installed,
        }
    }

    /// Whether a manifest was tried here and failed. What was refused unseen is looked at again: keys may have been added.
    pub(crate) fn was_tried(&self, manifest: Option<Digest>) -> bool {
        let tried = self.failed.as_ref().filter(|failed| failed.stage != Stage::Refused);
        tried.is_some_and(|failed| Some(failed.manifest) == manifest)
    }

    /// Refuses a version below the highest that was ever taken, and the same version of something else.
    ///
    /// # Errors
    /// `Downgrade`, `SameVersion`.
    pub(crate) fn check_version(&self, version: u64, bundle: Digest) -> Result<(), DeliverError> {
        let Some(highest) = self.highest else { return Ok(()) };
        if version < highest.version {
            return Err(DeliverError::Downgrade { version, highest: highest.version });
        }
        if version == highest.version && bundle != highest.bundle {
            return Err(DeliverError::SameVersion {
                version,
                expected: highest.bundle,
                found: bundle,
            });
        }
        Ok(())
    }
}

/// A state, and whether it was made anew.
pub(crate) struct Loaded {
    pub(crate) state: State,
    pub(crate) rebuilt: Option<String>,
}
