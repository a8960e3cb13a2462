//! What the broker is told. States are kept as they should stand at the broker and as they were sent since it was last connected:
//! what differs is sent, so that after any trouble everything is as it is.
use super::Heard;
use super::discovery::{Camera, device};
use super::stats::stats;
use super::topics::{ALL, OFFLINE, ONLINE, Topics, part};
use crate::hub::Hub;
use crate::message::{Message, SourceState};
use rumqttc::{AsyncClient, PublishOptions, QoS};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// When the queue to the broker was full, the rest is sent after so long.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the broker may take for our last word.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Tells the broker.
pub(super) struct Teller {
    hub: Arc<Hub>,
    client: AsyncClient,
    topics: Topics,
    /// By source, the classes that it asks for; all where it names none.
    classes: Vec<BTreeSet<String>>,
    /// By source, the parts of topics of classes that are counted: those that it asks for, and those seen so far.
    parts: Vec<BTreeSet<String>>,
    /// What should stand at the broker, by topic.
    wanted: BTreeMap<String, String>,
    /// What was sent to it.
    sent: BTreeMap<String, String>,
    /// Whether the two may differ.
    dirty: bool,
    connected: bool,
    /// Whether the broker has told what it keeps of an earlier run.
    knows_past: bool,
}

impl Teller {
    pub(super) fn new(
        hub: Arc<Hub>,
        client: AsyncClient,
        topics: Topics,
        classes: Vec<BTreeSet<String>>,
    ) -> Self {
        let parts = classes.iter().map(|c| c.iter().map(|label| part(label)).collect()).collect();
        Self {
            hub,
            client,
            topics,
            classes,
            parts,
            wanted: BTreeMap::new(),
            sent: BTreeMap::new(),
            dirty: false,
            connected: false,
            knows_past: false,
        }
    }

    /// Tells the broker until everything ends.
    pub(super) async fn run(
        mut self,
        mut messages: broadcast::Receiver<Message>,
        mut news: mpsc::Receiver<Heard>,
        every: Duration,
    ) {
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.see_all();
        self.describe();
        loop {
            tokio::select! {
                biased;
                () = self.hub.stopped() => break,
                heard = news.recv() => match heard {
                    Some(Heard::Connected) => {
                        self.begin();
                        ticks.reset();
                    }
                    Some(Heard::Away) => self.connected = false,
                    Some(Heard::Told { topic, payload, retained }) => {
                        self.hear(&topic, &payload, retained);
                    }
                    None => return,
                },
                message = messages.recv() => match message {
                    Ok(message) => self.take(&message),
                    Err(RecvError::Lagged(lost)) => {
                        self.lose(lost);
                        self.see_all();
                    }
                    Err(RecvError::Closed) => break,
                },
                _ = ticks.tick() => self.tick(),
                () = sleep(AGAIN), if self.dirty && self.connected => {}
            }
            self.send_states();
        }
        self.end(news).await;
    }

    fn lose(&self, events: u64) {
        self.hub.outputs.mqtt_dropped.fetch_add(events, Ordering::Relaxed);
    }

    /// The broker is there, and knows nothing.
    fn begin(&mut self) {
        self.connected = true;
        let counts = self.hub.sources.iter().map(|source| self.topics.count(&source.name, "+"));
        let counts = counts.filter(|_| !self.knows_past);
        for topic in self.topics.home_assistant().into_iter().chain(counts) {
            // The queue was emptied when the connection ended.
            let _ = self.client.try_subscribe(topic, QoS::AtLeastOnce);
        }
        self.tell_anew();
    }

    /// Tells everything again.
    fn tell_anew(&mut self) {
        self.sent.clear();
        self.dirty = true;
        self.send_states();
        self.send_stats();
    }

    /// Something that we subscribed to: Home Assistant has started, or what the broker keeps of an earlier run.
    fn hear(&mut self, topic: &str, payload: &[u8], retained: bool) {
        if self.topics.home_assistant().as_deref() == Some(topic) {
            // A message that the broker kept came with the connection, at which everything was told.
            if payload == ONLINE.as_bytes() && !retained {
                self.tell_anew();
            }
            return;
        }
        let Some([camera, found]) = self.topics.of_count(topic).filter(|_| retained) else {
            return;
        };
        let Some(source) = self.hub.source(camera) else { return };
        let model = self.hub.model.get();
        let Some(label) = model.labels.iter().find(|label| part(label) == found) else { return };
        let asks = &self.classes[source];
        if asks.is_empty() || asks.contains(&**label) {
            // It was seen before, and Home Assistant knows it: it is counted on, from 0.
            self.know(source, found.to_owned());
            self.see(source);
        } else {
            // Nobody counts it any more. What stands there would be believed for ever.
            let gone = PublishOptions::at_least_once().retained();
            let _ = self.client.try_publish(topic, "", gone);
        }
    }

    fn take(&mut self, message: &Message) {
        match message {
            Message::Object(event) => {
                let Some(source) = self.hub.source(&event.after.camera) else { return };
                self.know(source, part(&event.after.label));
                self.see(source);
                // Who hears of an event may look at the counts.
                self.send_states();
                match serde_json::to_string(&**event) {
                    Ok(event) => self.send_event(event),
                    Err(_) => self.lose(1),
                }
            }
            Message::Source(event) => {
                if let Some(source) = self.hub.source(&event.camera) {
                    self.see(source);
                }
            }
            Message::Frame(_) | Message::Model(_) | Message::Machine(_) | Message::Ended => {}
        }
    }

    /// An event is lost where the broker is away or too slow: it tells what happened, and too late it would mislead.
    fn send_event(&self, event: String) {
        let options = PublishOptions::at_least_once();
        let sent = self
            .connected
            .then(|| self.client.try_publish_tracked(self.topics.events(), event, options));
        let Some(Ok(taken)) = sent else { return self.lose(1) };
        let hub = Arc::clone(&self.hub);
        // There are as many of these tasks as messages wait for the broker, and no more.
        tokio::spawn(async move {
            if taken.wait_async().await.is_err() {
                hub.outputs.mqtt_dropped.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    fn tick(&mut self) {
        if !self.connected {
            return;
        }
        self.send_stats();
        if !std::mem::replace(&mut self.knows_past, true) {
            for source in &self.hub.sources {
                // Our own counts would come back until the next connection, which is no harm.
                let _ = self.client.try_unsubscribe(self.topics.count(&source.name, "+"));
            }
        }
    }

    fn send_stats(&self) {
        let stats = stats(&self.hub).to_string();
        // The next ones come anyway.
        let _ = self.client.try_publish(self.topics.stats(), stats, PublishOptions::at_most_once());
    }

    /// Sends what does not stand at the broker, as far as its queue takes it.
    fn send_states(&mut self) {
        if !(self.connected && self.dirty) {
            return;
        }
        // The server is there once everything else is right.
        let available = (self.topics.available(), ONLINE.to_owned());
        let last = [(&available.0, &available.1)];
        for (topic, state) in self.wanted.iter().chain(last) {
            if self.sent.get(topic) == Some(state) {
                continue;
            }
            let options = PublishOptions::at_least_once().retained();
            if self.client.try_publish(topic.as_str(), state.as_str(), options).is_err() {
                return;
            }
            self.sent.insert(topic.clone(), state.clone());
        }
        self.dirty = false;
    }

    fn want(&mut self, topic: String, state: String) {
        self.dirty |= self.sent.get(&topic) != Some(&state);
        self.wanted.insert(topic, state);
    }

    /// Takes over what is known of all sources.
    fn see_all(&mut self) {
        (0..self.hub.sources.len()).for_each(|source| self.see(source));
    }

    /// Takes over what is known of a source.
    fn see(&mut self, source: usize) {
        let hub = Arc::clone(&self.hub);
        let status = &hub.sources[source];
        let state = status.state();
        let detects = if state == SourceState::Live { ONLINE } else { OFFLINE };
        self.want(self.topics.detects(&status.name), detects.to_owned());
        self.want(self.topics.status(&status.name), name(&state));
        let mut counts = BTreeMap::new();
        let mut all = 0;
        for (label, count) in hub.objects(source) {
            let part = part(&label);
            self.know(source, part.clone());
            // Two classes that have one topic are counted together.
            *counts.entry(part).or_default() += count;
            all += count;
        }
        for part in self.parts[source].clone() {
            let count: usize = counts.get(&part).copied().unwrap_or(0);
            self.want(self.topics.count(&status.name, &part), count.to_string());
        }
        self.want(self.topics.count(&status.name, ALL), all.to_string());
    }

    /// From now on a class is counted.
    fn know(&mut self, source: usize, part: String) {
        if self.parts[source].insert(part) {
            self.describe();
        }
    }

    /// Takes over what Home Assistant is to know.
    fn describe(&mut self) {
        let Some(topic) = self.topics.device() else { return };
        let sources = self.hub.sources.iter().zip(&self.parts);
        let cameras = sources.map(|(source, parts)| Camera { name: &source.name, parts });
        let device = device(&self.topics, cameras);
        self.want(topic, device.to_string());
    }

    /// Says that the server goes.
    async fn end(self, mut news: mpsc::Receiver<Heard>) {
        if !self.connected {
            return;
        }
        let retained = PublishOptions::at_least_once().retained();
        let said = self.client.try_publish_tracked(self.topics.available(), OFFLINE, retained);
        let Ok(taken) = said else { return };
        // The connection must not wait for us meanwhile.
        let go_on = async { while news.recv().await.is_some() {} };
        tokio::select! {
            // Without an answer the broker tells our last will, which says the same.
            _ = timeout(LAST_WORD, taken.wait_async()) => {}
            () = go_on => {}
        }
        let _ = self.client.try_disconnect_now();
    }
}

/// What a source is doing, in a word.
fn name(state: &SourceState) -> String {
    match state {
        SourceState::Live => ONLINE.to_owned(),
        SourceState::Down { reason, .. } => reason.name().to_owned(),
        other => other.name().to_owned(),
    }
}
