//! The steps by which a device comes to use what its alias names, and by which it goes back.
//!
//! Whatever ends the agent, at any step, the link leads to a bundle that is whole, and `state.json` says how to go on: what is
//! written there before the link is changed is what the next start needs to understand the link.
use super::folder::{Slot, StateFolder};
use super::install::{assemble, fetch};
use super::probation::{Judgement, model_digest, probation};
use super::pulse::Pulse;
use super::reporter::Reporter;
use super::server::{Level, Server, Told};
use super::settings::AgentSettings;
use super::state::{Highest, Installed, State};
use super::warm_up::warm_up;
use crate::bundle::Bundle;
use crate::package::{Form, Package};
use crate::status::{Failed, Running, Stage, Status};
use crate::store::{Reference, Store};
use crate::{DeliverError, Digest, PublicKeys};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What a look at the alias came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device uses what the alias names.
    UpToDate,
    /// The device uses it since now.
    Installed,
    /// The device does not take it, and goes on with what it had.
    Failed(Failed),
}

/// Who hears what the agent does.
pub type Tell = dyn Fn(&str) + Send;

/// A device and all it needs.
pub(crate) struct Device {
    pub(crate) settings: AgentSettings,
    pub(crate) folder: StateFolder,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) tell: Box<Tell>,
    pub(crate) reporter: Reporter,
    state: State,
    server: Option<Server>,
    wanted: Option<Digest>,
    last_success_s: Option<u64>,
}

impl Device {
    /// Takes the folder, and makes sure that the link leads to a bundle that is whole, as long as there is one.
    ///
    /// # Errors
    /// `Locked`, `Read`, `Write`, `Key`.
    pub(crate) fn open(
        settings: AgentSettings,
        folder: StateFolder,
        pulse: Arc<Pulse>,
        tell: Box<Tell>,
    ) -> Result<Self, DeliverError> {
        let keys = PublicKeys::read(&settings.keys)?;
        let reporter = Reporter::new(&settings)?;
        let loaded = State::load(&folder, &keys)?;
        if let Some(rebuilt) = &loaded.rebuilt {
            tell(rebuilt);
        }
        let server = settings.serve.as_ref().map(Server::new);
        let (state, wanted, last_success_s) = (loaded.state, None, None);
        let mut device =
            Self { settings, folder, pulse, tell, reporter, state, server, wanted, last_success_s };
        device.check_current()?;
        Ok(device)
    }

    /// Leaves a bundle that a disk has damaged.
    fn check_current(&mut self) -> Result<(), DeliverError> {
        let Some(slot) = self.folder.current()? else { return Ok(()) };
        let Err(damage) = self.folder.bundle(slot) else { return Ok(()) };
        (self.tell)(&format!("the bundle in use is damaged: {damage}"));
        self.state.set(slot, None);
        if let Some(other) = self.fallback(slot) {
            self.folder.switch(other)?;
            (self.tell)(&format!("back to {}", self.folder.slot(other).display()));
        }
        Ok(())
    }

    /// The other slot, where it holds a bundle that has passed its probation and is whole.
    fn fallback(&self, slot: Slot) -> Option<Slot> {
        let other = slot.other();
        let installed = self.state.installed(other).filter(|installed| installed.proven)?;
        let bundle = self.folder.bundle(other).ok()?;
        (bundle.digest == installed.bundle).then_some(other)
    }

    /// Looks at the alias once, and does what that asks for.
    ///
    /// # Errors
    /// What hindered it, and may not hinder it the next time.
    pub(crate) fn converge(&mut self, store: &dyn Store) -> Result<Outcome, DeliverError> {
        let settled = self.settle();
        if matches!(settled, Err(DeliverError::Stopped)) {
            return settled.map(|()| Outcome::UpToDate);
        }
        let alias = &self.settings.alias;
        let wanted = store.digest_of_tag(alias)?.ok_or_else(|| DeliverError::Missing {
            store: store.name(),
            what: format!("tag {alias}"),
        })?;
        self.wanted = Some(wanted);
        if self.state.failed.as_ref().is_some_and(|failed| failed.manifest != wanted) {
            self.state.failed = None;
            self.state.store(&self.folder)?;
        }
        if let Some(failed) =
            self.state.failed.clone().filter(|_| self.state.was_tried(Some(wanted)))
        {
            return settled.map(|()| Outcome::Failed(failed));
        }
        let current = self.folder.current()?;
        let installed = current.and_then(|slot| self.state.installed(slot));
        if installed.and_then(|installed| installed.manifest) == Some(wanted) {
            settled?;
            self.last_success_s = Some(now_s());
            return Ok(Outcome::UpToDate);
        }
        let outcome = self.install(store, wanted);
        match outcome {
            Err(error) if is_refusal(&error) => {
                let stage = match error {
                    DeliverError::WarmUp { .. } => Stage::WarmUp,
                    _ => Stage::Refused,
                };
                let failed = Failed { manifest: wanted, stage, why: error.to_string() };
                if self.state.failed.as_ref() != Some(&failed) {
                    self.state.failed = Some(failed.clone());
                    self.state.store(&self.folder)?;
                }
                Ok(Outcome::Failed(failed))
            }
            Ok(Outcome::Installed | Outcome::UpToDate) => {
                self.last_success_s = Some(now_s());
                outcome
            }
            outcome => outcome,
        }
    }

    /// Goes on with what an earlier run was about when it ended, and keeps `serve` on the bundle that is in use.
    fn settle(&mut self) -> Result<(), DeliverError> {
        let Some(slot) = self.folder.current()? else { return Ok(()) };
        let Some(installed) = self.state.installed(slot) else { return Ok(()) };
        if self.state.was_tried(installed.manifest) {
            return self.go_back(slot);
        }
        if !installed.proven {
            return self.prove(slot).map(|_| ());
        }
        self.remind(slot)
    }

    /// Tells `serve` which bundle is in use, where it uses another one.
    fn remind(&self, slot: Slot) -> Result<(), DeliverError> {
        let Some(server) = &self.server else { return Ok(()) };
        let path = self.folder.slot(slot);
        let model = model_digest(&Bundle::open_unproved(&path)?, &self.settings.target)?;
        let seen = server.look();
        if seen.level == Level::Down || seen.runs(&model) {
            return Ok(());
        }
        match server.change(&path) {
            Told::Done => Ok(()),
            Told::Refused(why) | Told::Unheard(why) => Err(self.serve_error(why)),
        }
    }

    fn serve_error(&self, why: String) -> DeliverError {
        let url = self.settings.serve.as_ref().map(|serve| serve.url.clone()).unwrap_or_default();
        DeliverError::Serve { url, why }
    }

    /// From the package to a bundle that is in use and has held.
    fn install(&mut self, store: &dyn Store, wanted: Digest) -> Result<Outcome, DeliverError> {
        let package = Package::resolve(store, &Reference::Digest(wanted))?;
        if package.form != Form::ModelPack {
            let why = "an agent takes files one by one: push it without `--as image`";
            return Err(DeliverError::Package { store: store.name(), why: why.to_owned() });
        }
        let keys = PublicKeys::read(&self.settings.keys)?;
        let signed = package.verify(&keys)?;
        let bundle = package.bundle_digest();
        self.state.check_version(signed.version, bundle)?;
        let current = self.folder.current()?;
        let in_use = current.and_then(|slot| Some((slot, self.state.installed(slot)?)));
        if let Some((slot, mut installed)) = in_use
            && (installed.bundle, installed.version) == (bundle, signed.version)
        {
            // The same bundle, kept in another form.
            installed.manifest = Some(wanted);
            self.state.set(slot, Some(installed));
            self.state.store(&self.folder)?;
            return Ok(Outcome::UpToDate);
        }
        let slot = current.map_or(Slot::A, Slot::other);
        (self.tell)(&format!("{} version {}: fetching", package.manifest.name, signed.version));
        let bundle = self.prepare(store, &package, slot, &keys)?;
        model_digest(&bundle, &self.settings.target)?;
        warm_up(&self.settings.warm_up, &bundle.path, &self.pulse)?;
        self.switch(
            slot,
            Installed {
                manifest: Some(wanted),
                bundle: bundle.digest,
                version: signed.version,
                proven: false,
                before: self.server.as_ref().map_or(Level::Down, |server| server.look().level),
            },
        )?;
        self.prove(slot)
    }

    /// Brings a package into the slot that is not in use, unless it is there already.
    fn prepare(
        &self,
        store: &dyn Store,
        package: &Package,
        slot: Slot,
        keys: &PublicKeys,
    ) -> Result<Bundle, DeliverError> {
        let whole = |bundle: &Bundle| {
            let found = package.verify(keys).ok();
            bundle.digest == package.bundle_digest() && bundle.verify(keys).ok() == found
        };
        if let Some(bundle) = self.folder.bundle(slot).ok().filter(whole) {
            return Ok(bundle);
        }
        fetch(&self.folder, store, package, &self.pulse)?;
        let assembled = assemble(&self.folder, slot, package);
        if assembled.is_err() {
            // Whatever is wrong with the downloads, they are not taken for good the next time.
            self.folder.keep_downloads(&[])?;
        }
        assembled
    }

    /// Uses a slot from now on. What it holds is noted first, so that after an interruption the link is understood.
    fn switch(&mut self, slot: Slot, installed: Installed) -> Result<(), DeliverError> {
        self.state.set(slot, Some(installed));
        self.state.failed = None;
        let highest = Highest { version: installed.version, bundle: installed.bundle };
        self.state.highest = Some(highest);
        self.state.store(&self.folder)?;
        self.folder.switch(slot)?;
        self.folder.keep_downloads(&[])
    }

    /// The probation of the slot in use, and what follows from it.
    fn prove(&mut self, slot: Slot) -> Result<Outcome, DeliverError> {
        let bundle = Bundle::open_unproved(&self.folder.slot(slot))?;
        let Some(installed) = self.state.installed(slot) else { return Ok(Outcome::UpToDate) };
        let (name, version) = (bundle.manifest.name.clone(), installed.version);
        (self.tell)(&format!("{name} version {version}: in probation"));
        // A registry that is away would be waited for, and nobody would watch meanwhile.
        self.report(None, None);
        let (server, pulse) = (self.server.as_ref(), &self.pulse);
        match probation(&self.settings, server, &bundle, installed.before, pulse)? {
            Judgement::Healthy => {
                self.state.set(slot, Some(Installed { proven: true, ..installed }));
                self.state.store(&self.folder)?;
                (self.tell)(&format!("{name} version {version}: healthy"));
                Ok(Outcome::Installed)
            }
            Judgement::Bad(why) => {
                (self.tell)(&format!("{name} version {version}: taken back: {why}"));
                self.state.rollbacks += 1;
                let manifest = installed.manifest;
                let failed = manifest.map(|manifest| Failed {
                    manifest,
                    stage: Stage::RolledBack,
                    why: why.clone(),
                });
                self.state.failed.clone_from(&failed);
                self.state.store(&self.folder)?;
                self.go_back(slot)?;
                failed.map(Outcome::Failed).ok_or_else(|| self.serve_error(why))
            }
            Judgement::Unjudged(why) => {
                (self.tell)(&format!("{name} version {version}: cannot be judged: {why}"));
                self.go_back(slot)?;
                Err(self.serve_error(why))
            }
        }
    }

    /// Back to the other slot, where there is something to go back to; on a device's first bundle there is not.
    fn go_back(&self, slot: Slot) -> Result<(), DeliverError> {
        let Some(other) = self.fallback(slot) else { return Ok(()) };
        self.folder.switch(other)?;
        // A server that cannot be told now is told at the next look.
        let _ = self.remind(other);
        Ok(())
    }

    /// Tells of the device wherever that is asked for; `error` is why the last look came to nothing.
    pub(crate) fn report(&mut self, store: Option<&dyn Store>, error: Option<String>) {
        let status = self.status(error);
        if let Err(error) = self.reporter.publish(&status, &self.folder, store) {
            (self.tell)(&format!("the report could not be given: {error}"));
        }
    }

    /// What the device says of itself now.
    fn status(&self, error: Option<String>) -> Status {
        let slot = self.folder.current().ok().flatten();
        let installed = slot.and_then(|slot| self.state.installed(slot));
        let in_use = self.in_use();
        let proven = installed.is_some_and(|installed| installed.proven);
        let failed = self.state.failed.clone();
        let tried = installed.is_some_and(|installed| self.state.was_tried(installed.manifest));
        Status {
            yoloslim_status: Status::FORMAT,
            device: self.settings.device.clone(),
            time_s: now_s(),
            alias: self.settings.alias.clone(),
            running: in_use.and_then(|slot| self.running(slot)),
            healthy: proven && !tried && in_use == slot,
            probation: installed.is_some() && !proven && !tried,
            wanted: self.wanted,
            failed,
            rollbacks: self.state.rollbacks,
            last_success_s: self.last_success_s,
            free_bytes: self.folder.free_bytes().ok(),
            error,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The slot whose model is used: by what `serve` says, where there is one.
    fn in_use(&self) -> Option<Slot> {
        let current = self.folder.current().ok().flatten();
        let Some(server) = &self.server else { return current };
        let seen = server.look();
        let runs = |slot: &Slot| {
            let bundle = Bundle::open_unproved(&self.folder.slot(*slot));
            let model = bundle.and_then(|bundle| model_digest(&bundle, &self.settings.target));
            model.is_ok_and(|model| seen.runs(&model))
        };
        // Two bundles may have the same model.
        current.into_iter().chain([Slot::A, Slot::B]).find(runs)
    }

    fn running(&self, slot: Slot) -> Option<Running> {
        let installed = self.state.installed(slot)?;
        let bundle = Bundle::open_unproved(&self.folder.slot(slot)).ok()?;
        Some(Running {
            name: bundle.manifest.name,
            version: installed.version,
            manifest: installed.manifest,
            bundle: installed.bundle,
        })
    }
}

/// Whether an error says that this package is not to be used here, rather than that something else is amiss.
fn is_refusal(error: &DeliverError) -> bool {
    matches!(
        error,
        DeliverError::Unsigned { .. }
            | DeliverError::Untrusted { .. }
            | DeliverError::Signature { .. }
            | DeliverError::Downgrade { .. }
            | DeliverError::SameVersion { .. }
            | DeliverError::NoTarget { .. }
            | DeliverError::WarmUp { .. }
            | DeliverError::Name { .. }
            | DeliverError::Bundle { .. }
            | DeliverError::Package { .. }
            | DeliverError::Oversized { .. }
    )
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}
