//! A broker that is told of objects and sources in the topics that Frigate made the convention, and Home Assistant by its discovery.
mod discovery;
mod stats;
mod teller;
mod topics;

use super::{OutputCounts, tls};
use crate::ServeError;
use crate::hub::Hub;
use crate::message::Message;
use crate::settings::{MqttSettings, SourceSettings};
use rumqttc::{
    AsyncClient, Broker, ConnectionError, Event, EventLoop, LastWill, MqttOptions, Packet, QoS,
    TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use teller::Teller;
use tokio::sync::{broadcast, mpsc};
use topics::Topics;

/// Messages that may wait for the broker; what comes then is lost, or told later where it is a state.
const MOST_WAITING: usize = 1024;

/// The wait before the broker is called again; it doubles each time that it does not stay.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// A connection that lasted for so long did stay: what ends it then is a new trouble.
const STAYED: Duration = Duration::from_secs(60);

/// Without a word for so long the broker is asked whether it is there; after half as long again it tells our last will.
const KEEP_ALIVE_S: u16 = 15;

/// The largest message: the discovery of many cameras with many classes is some 100 KB.
const MOST_BYTES: usize = 16 << 20;

/// How long the connection may take to close.
const CLOSING: Duration = Duration::from_millis(500);

/// The publisher before it runs.
pub(super) struct Mqtt {
    hub: Arc<Hub>,
    settings: MqttSettings,
    options: MqttOptions,
    topics: Topics,
    messages: broadcast::Receiver<Message>,
    /// By source, the classes that it asks for.
    classes: Vec<BTreeSet<String>>,
}

/// What is heard of the broker.
enum Heard {
    /// It takes messages.
    Connected,
    /// It does not any more.
    Away,
    /// Something that we subscribed to.
    Told { topic: String, payload: Vec<u8>, retained: bool },
}

impl Mqtt {
    /// For the broker of the settings, told from now on.
    ///
    /// # Errors
    /// As [`tls::trusted`], where the connection is to be encrypted.
    pub(super) fn new(
        hub: &Arc<Hub>,
        settings: &MqttSettings,
        sources: &[SourceSettings],
    ) -> Result<Self, ServeError> {
        let topics = Topics::new(&settings.prefix, &settings.discovery_prefix);
        let port = settings.port.unwrap_or(if settings.tls { 8883 } else { 1883 });
        let broker = Broker::tcp(&settings.host, port);
        let mut options = MqttOptions::new(&settings.client_id, broker);
        let will = LastWill::new(topics.available(), topics::OFFLINE, QoS::AtLeastOnce, true);
        options.set_last_will(will).set_keep_alive(KEEP_ALIVE_S);
        options.set_max_packet_size(MOST_BYTES, MOST_BYTES);
        if let Some(user) = &settings.user {
            let password = settings.password.as_ref().map_or("", |password| password.reveal());
            options.set_credentials(user, password.to_owned());
        }
        if settings.tls {
            options.set_transport(encrypted(settings)?);
        }
        Ok(Self {
            hub: Arc::clone(hub),
            settings: settings.clone(),
            options,
            topics,
            messages: hub.subscribe(),
            classes: sources.iter().map(|s| s.classes.iter().cloned().collect()).collect(),
        })
    }

    /// Tells the broker until everything ends.
    pub(super) async fn run(self) {
        let (client, eventloop) = AsyncClient::builder(self.options).capacity(MOST_WAITING).build();
        let (heard, news) = mpsc::channel(MOST_WAITING);
        let hub = Arc::clone(&self.hub);
        let teller = Teller::new(self.hub, client, self.topics, self.classes);
        let interval = Duration::from_secs_f64(self.settings.stats_interval_s);
        let told = async {
            teller.run(self.messages, news, interval).await;
            tokio::time::sleep(CLOSING).await;
        };
        tokio::select! {
            () = stay_connected(eventloop, heard, &hub) => {}
            () = told => {}
        }
        hub.outputs.mqtt_connected.store(false, std::sync::atomic::Ordering::Relaxed);
    }
}

fn encrypted(settings: &MqttSettings) -> Result<Transport, ServeError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(tls::trusted(settings.ca_file.as_deref(), "mqtt.ca_file")?);
    let refuse = |why: String| ServeError::Setting { name: "mqtt.tls", why };
    let config = ClientConfig::builder_with_provider(tls::provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| refuse(error.to_string()))?;
    let config = config.with_root_certificates(roots).with_no_client_auth();
    Ok(Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config))))
}

/// Connects to the broker again and again, and passes on what is heard of it.
async fn stay_connected(mut eventloop: EventLoop, heard: mpsc::Sender<Heard>, hub: &Hub) {
    let counts: &OutputCounts = &hub.outputs;
    let mut wait = FIRST_WAIT;
    let mut since = None;
    loop {
        let news = match eventloop.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                since = Some(Instant::now());
                counts.set_mqtt(None);
                Heard::Connected
            }
            Ok(Event::Incoming(Packet::Publish(publish))) => Heard::Told {
                topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                payload: publish.payload.to_vec(),
                retained: publish.retain,
            },
            Ok(_) => continue,
            // The teller has said its last.
            Err(ConnectionError::RequestsDone) => return,
            Err(error) => {
                counts.set_mqtt(Some(error.to_string()));
                if heard.send(Heard::Away).await.is_err() {
                    return;
                }
                if since.take().is_some_and(|since| since.elapsed() >= STAYED) {
                    wait = FIRST_WAIT;
                }
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = hub.stopped() => return,
                }
                wait = (2 * wait).min(LONGEST_WAIT);
                continue;
            }
        };
        if heard.send(news).await.is_err() {
            return;
        }
    }
}
