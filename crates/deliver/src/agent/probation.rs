//! The time in which a new bundle must hold.
use super::pulse::Pulse;
use super::server::{Level, Seen, Server, Told};
use super::settings::AgentSettings;
use super::warm_up::warm_up;
use crate::bundle::Bundle;
use crate::{DeliverError, Digest};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long `serve` may be worse than it was: cameras come back, services are started anew.
const GRACE: Duration = Duration::from_secs(10);
/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);
/// How often `serve` may start anew: once may be somebody's wish, twice is a model that does not hold.
const RESTARTS: u32 = 1;

/// What a probation comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It held.
    Healthy,
    /// It did not.
    Bad(String),
    /// It cannot be told, through no fault of the bundle.
    Unjudged(String),
}

/// Watches a bundle that is in use now. `before` is how `serve` was with the one before: it must not become worse.
///
/// # Errors
/// `Stopped`; `Program`.
pub(crate) fn probation(
    settings: &AgentSettings,
    server: Option<&Server>,
    bundle: &Bundle,
    before: Level,
    pulse: &Pulse,
) -> Result<Judgement, DeliverError> {
    let Some(server) = server else {
        pulse.wait(settings.probation)?;
        return match warm_up(&settings.warm_up, &bundle.path, pulse) {
            Ok(()) => Ok(Judgement::Healthy),
            Err(error @ DeliverError::WarmUp { .. }) => Ok(Judgement::Bad(error.to_string())),
            Err(error) => Err(error),
        };
    };
    let model = model_digest(bundle, &settings.target)?;
    let mut watch = Watch::new(server, &bundle.path, model, before, settings.probation);
    loop {
        if let Some(judgement) = watch.look() {
            return Ok(judgement);
        }
        pulse.wait(LOOK.min(settings.probation / 20))?;
    }
}

/// The digest of a bundle's model for a target.
///
/// # Errors
/// `NoTarget`.
pub(crate) fn model_digest(bundle: &Bundle, target: &str) -> Result<Digest, DeliverError> {
    let manifest = &bundle.manifest;
    let entry = manifest.models.get(target).and_then(|name| manifest.files.get(name));
    entry.map(|entry| entry.digest).ok_or_else(|| DeliverError::NoTarget {
        target: target.to_owned(),
        known: manifest.models.keys().cloned().collect::<Vec<_>>().join(", "),
    })
}

struct Watch<'a> {
    server: &'a Server,
    bundle: &'a Path,
    model: Digest,
    before: Level,
    end: Instant,
    grace: Duration,
    /// What came of telling it.
    told: Told,
    /// Since when it has been worse than it may be.
    worse: Option<Instant>,
    /// Whether it ever answered.
    answered: bool,
    uptime_s: f64,
    restarts: u32,
}

impl<'a> Watch<'a> {
    fn new(
        server: &'a Server,
        bundle: &'a Path,
        model: Digest,
        before: Level,
        probation: Duration,
    ) -> Self {
        let (end, grace) = (Instant::now() + probation, GRACE.min(probation / 2));
        let told = Told::Unheard("it was not told yet".to_owned());
        let (worse, answered) = (None, false);
        Self {
            server,
            bundle,
            model,
            before,
            end,
            grace,
            told,
            worse,
            answered,
            uptime_s: 0.0,
            restarts: 0,
        }
    }

    /// Looks once; a judgement where there is one already.
    fn look(&mut self) -> Option<Judgement> {
        let mut seen = self.server.look();
        if seen.level != Level::Down && !seen.runs(&self.model) {
            self.told = self.server.change(self.bundle);
            if let Told::Refused(why) = &self.told {
                return Some(Judgement::Bad(format!("serve refuses it: {why}")));
            }
            seen = self.server.look();
        }
        if let Some(judgement) = self.count(&seen) {
            return Some(judgement);
        }
        let why = self.why_not(&seen);
        let now = Instant::now();
        if why.is_none() {
            self.worse = None;
        }
        let since = why.as_ref().map(|_| *self.worse.get_or_insert(now));
        let too_long = since.is_some_and(|since| now - since >= self.grace);
        if now < self.end && !too_long {
            return None;
        }
        // Whoever was away before and is away still says nothing about the bundle, and waits until the end.
        let Some(why) = why else { return Some(Judgement::Healthy) };
        let away = seen.level == Level::Down && self.before == Level::Down && !self.answered;
        let unheard = seen.level != Level::Down && !seen.runs(&self.model);
        if away && now < self.end {
            return None;
        }
        match &self.told {
            Told::Unheard(told) if unheard => Some(Judgement::Unjudged(format!("serve: {told}"))),
            _ if away => Some(Judgement::Unjudged(why)),
            _ => Some(Judgement::Bad(why)),
        }
    }

    /// Counts starts of the server.
    fn count(&mut self, seen: &Seen) -> Option<Judgement> {
        if seen.level == Level::Down {
            return None;
        }
        self.answered = true;
        self.restarts += u32::from(seen.uptime_s < self.uptime_s);
        self.uptime_s = seen.uptime_s;
        let many = self.restarts > RESTARTS;
        many.then(|| Judgement::Bad(format!("serve started anew {} times", self.restarts)))
    }

    /// Why it is not as it must be; none where it is.
    fn why_not(&self, seen: &Seen) -> Option<String> {
        if seen.level == Level::Down {
            return Some(format!("serve does not answer: {}", seen.why));
        }
        if !seen.runs(&self.model) {
            return Some("serve uses another model".to_owned());
        }
        (seen.level < self.before).then(|| format!("serve is not ready: {}", seen.why))
    }
}
