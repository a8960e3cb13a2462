use super::broker::{Broker, Door, Listener, USER};
use super::{believe, hub, open, see, settings, until};
use crate::hub::Hub;
use crate::message::{DownReason, SourceState};
use crate::outputs::Outputs;
use crate::server::Server;
use crate::settings::Settings;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A hub that tells a broker.
struct Told {
    hub: Arc<Hub>,
    outputs: Outputs,
    runtime: Runtime,
}

impl Told {
    fn new(settings: &Settings) -> Self {
        let (hub, runtime) = (hub(settings), Runtime::new().unwrap());
        let outputs = Outputs::start(runtime.handle(), &hub, settings).unwrap();
        Self { hub, outputs, runtime }
    }

    fn dropped(&self) -> u64 {
        self.hub.outputs.mqtt_dropped.load(Ordering::Relaxed)
    }

    fn is_connected(&self) -> bool {
        self.hub.outputs.mqtt_connected.load(Ordering::Relaxed)
    }

    /// Ends it as the server does.
    fn stop(self) {
        self.hub.stop();
        self.runtime.block_on(self.outputs.finish());
    }
}

fn json_of(text: Option<String>) -> Value {
    serde_json::from_str(&text.expect("a message")).unwrap()
}

/// The next event, its names as they stand there.
fn event(listener: &Listener) -> Value {
    serde_json::from_str(&listener.next("yoloslim/events")).unwrap()
}

#[test]
fn counts_events_and_states_stand_in_frigates_topics() {
    let Some(broker) = Broker::start(Door::Open) else { return };
    let listener = broker.listen();
    let told = Told::new(&settings(&broker.settings()));
    listener.expect("yoloslim/available", "online");
    for (topic, state) in [
        ("back/red", "0"),
        ("back/all", "0"),
        ("front/all", "0"),
        ("front/status", "online"),
        ("front/status/detect", "online"),
    ] {
        assert_eq!(
            listener.latest(&format!("yoloslim/{topic}")).as_deref(),
            Some(state),
            "{topic}"
        );
    }
    believe(&told.hub, 0, &["red", "blue", "red"], 100.0);
    let started = [event(&listener), event(&listener), event(&listener)];
    for (topic, state) in
        [("front/red", "2"), ("front/blue", "1"), ("front/all", "3"), ("back/red", "0")]
    {
        // The counts are there before the events.
        assert_eq!(
            listener.latest(&format!("yoloslim/{topic}")).as_deref(),
            Some(state),
            "{topic}"
        );
    }
    let after = &started[0]["after"];
    assert_eq!(started[0]["type"], "new");
    assert_eq!((&after["camera"], &after["label"]), (&"front".into(), &"red".into()));
    assert_eq!((&after["box"], &after["ratio"]), (&json!([0, 0, 100, 50]), &json!(2.0)));
    let fixed = [
        ("end_time", Value::Null),
        ("sub_label", Value::Null),
        ("false_positive", false.into()),
        ("current_zones", json!([])),
        ("entered_zones", json!([])),
        ("has_clip", false.into()),
        ("has_snapshot", false.into()),
        ("active", true.into()),
        ("position_changes", 0.into()),
    ];
    fixed.iter().for_each(|(name, value)| assert_eq!(after.get(*name), Some(value), "{name}"));
    (0..2).for_each(|frame| see(&told.hub, 0, &["blue"], 104.0 + f64::from(frame)));
    listener.expect("yoloslim/front/red", "0");
    let ended = [event(&listener), event(&listener)];
    assert!(
        ended.iter().all(|event| event["type"] == "end" && event["after"]["end_time"] == 100.2),
        "{ended:?}"
    );
    told.hub.set_state(0, SourceState::Down { reason: DownReason::Stale, detail: String::new() });
    listener.expect("yoloslim/front/status", "stale");
    listener.expect("yoloslim/front/status/detect", "offline");
    listener.expect("yoloslim/front/blue", "0");
    let stats = json_of(Some(listener.next("yoloslim/stats")));
    for name in ["camera_fps", "process_fps", "detection_fps", "skipped_fps", "pid"] {
        assert!(stats["cameras"]["back"][name].is_number(), "{name}: {stats}");
    }
    assert!(stats["detectors"]["yoloslim"]["inference_speed"].is_number(), "{stats}");
    assert_eq!(stats["service"]["version"], env!("CARGO_PKG_VERSION"));
    // Who comes later finds what is, and no event or count was sent twice.
    broker.listen().expect("yoloslim/front/status", "stale");
    assert_eq!(listener.so_far("yoloslim/back/red").len(), 0);
    assert_eq!(told.dropped(), 0);
    told.stop();
    listener.expect("yoloslim/available", "offline");
}

#[test]
fn server_that_is_cut_off_is_said_to_be_offline_by_its_last_will() {
    let Some(broker) = Broker::start(Door::Open) else { return };
    let listener = broker.listen();
    let told = Told::new(&settings(&broker.settings()));
    listener.expect("yoloslim/available", "online");
    // Its tasks end where they are, and their connection with them.
    told.runtime.shutdown_background();
    listener.expect("yoloslim/available", "offline");
    broker.listen().expect("yoloslim/available", "offline");
}

#[test]
fn broker_that_was_away_is_told_the_present_state_and_no_event_of_the_past() {
    let Some(mut broker) = Broker::start(Door::Open) else { return };
    let told = Told::new(&settings(&broker.settings()));
    broker.listen().expect("yoloslim/available", "online");
    believe(&told.hub, 0, &["red"], 100.0);
    broker.listen().expect("yoloslim/front/red", "1");
    broker.kill();
    until("it is known that the broker is away", || !told.is_connected());
    assert!(told.hub.outputs.mqtt_trouble().is_some());
    believe(&told.hub, 0, &["red", "blue"], 101.0);
    believe(&told.hub, 1, &["red"], 101.0);
    until("two events are counted", || told.dropped() == 2);
    broker.run();
    let listener = broker.listen();
    listener.expect("yoloslim/available", "online");
    for (topic, state) in
        [("front/red", "1"), ("front/blue", "1"), ("back/red", "1"), ("front/status", "online")]
    {
        listener.expect(&format!("yoloslim/{topic}"), state);
    }
    assert!(json_of(listener.latest("homeassistant/device/yoloslim/config")).is_object());
    assert_eq!(told.hub.outputs.mqtt_trouble(), None);
    believe(&told.hub, 1, &["red", "red"], 102.0);
    assert_eq!(event(&listener)["after"]["camera"], "back");
    assert_eq!(listener.so_far("yoloslim/events").len(), 0);
    assert_eq!(told.dropped(), 2);
    told.stop();
}

#[test]
fn broker_that_asks_for_a_password_takes_the_right_one_and_the_wrong_one_is_never_told() {
    let Some(broker) = Broker::start(Door::Password) else { return };
    let with = |password: &str| {
        let tables =
            format!("{}user = '{}'\npassword = '{password}'\n", broker.settings(), USER[0]);
        Told::new(&settings(&tables))
    };
    let refused = with("mistaken");
    until("it is refused", || refused.hub.outputs.mqtt_trouble().is_some());
    let trouble = refused.hub.outputs.mqtt_trouble().unwrap();
    assert!(trouble.contains("refused") && !trouble.contains("mistaken"), "{trouble}");
    assert!(!refused.is_connected());
    refused.stop();
    let taken = with(USER[1]);
    broker.listen().expect("yoloslim/available", "online");
    taken.stop();
}

#[test]
fn broker_with_tls_is_told_where_its_authority_is_trusted_and_nothing_elsewhere() {
    let Some(broker) = Broker::start(Door::Tls) else { return };
    let tables =
        format!("{}tls = true\nca_file = '{}'\n", broker.settings(), broker.authority().display());
    let told = Told::new(&settings(&tables));
    broker.listen().expect("yoloslim/available", "online");
    told.stop();
    let Some(other) = Broker::start(Door::Tls) else { return };
    let tables =
        format!("{}tls = true\nca_file = '{}'\n", other.settings(), broker.authority().display());
    let refused = Told::new(&settings(&tables));
    until("it is refused", || refused.hub.outputs.mqtt_trouble().is_some());
    let trouble = refused.hub.outputs.mqtt_trouble().unwrap();
    assert!(trouble.contains("certificate"), "{trouble}");
    assert!(!refused.is_connected());
    refused.stop();
}

#[test]
fn server_with_a_folder_of_images_tells_what_is_in_them_and_that_it_ends() {
    let Some(broker) = Broker::start(Door::Open) else { return };
    let folder = tempfile::tempdir().unwrap();
    let scene = testkit::tiny::scene(7);
    let red = scene.labels.lines().filter(|line| line.starts_with('0')).count();
    let side = testkit::tiny::SIDE_PX as u32;
    let image = image::RgbImage::from_raw(side, side, scene.rgb).unwrap();
    image.save(folder.path().join("scene.png")).unwrap();
    std::fs::write(folder.path().join("model"), "").unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let text = format!(
        "model = '{}'\nsessions = 1\n[[source]]\nname = 'front'\nurl = '{}'\nfps = 20.0\nloop = true\n{}",
        at("model"),
        folder.path().display(),
        broker.settings()
    );
    let server =
        Server::start(toml::from_str(&text).unwrap(), open(), Box::new(std::io::sink())).unwrap();
    let listener = broker.listen();
    listener.expect("yoloslim/front/status", "online");
    listener.expect("yoloslim/front/red", &red.to_string());
    let device = json_of(listener.latest("homeassistant/device/yoloslim/config"));
    assert!(device["components"].get("front_red_occupancy").is_some(), "{device}");
    server.hub().stop();
    assert!(server.wait());
    listener.expect("yoloslim/available", "offline");
}

#[test]
fn counts_that_an_earlier_run_left_behind_are_mended() {
    let Some(broker) = Broker::start(Door::Open) else { return };
    for (topic, left) in
        [("front/blue", "3"), ("back/blue", "1"), ("front/motion", "ON"), ("gone/red", "1")]
    {
        broker.publish(&format!("yoloslim/{topic}"), left, true);
    }
    let told = Told::new(&settings(&broker.settings()));
    let listener = broker.listen();
    listener.expect("yoloslim/front/blue", "0");
    // A class that the source does not ask for: nobody would ever count it again.
    until("it is forgotten", || {
        let later = broker.listen();
        later.expect("yoloslim/available", "online");
        later.latest("yoloslim/back/blue").is_none()
    });
    // What is not known to be ours stays.
    listener.expect("yoloslim/front/motion", "ON");
    listener.expect("yoloslim/gone/red", "1");
    let device = json_of(listener.latest("homeassistant/device/yoloslim/config"));
    assert!(device["components"].get("front_blue_count").is_some(), "{device}");
    assert!(device["components"].get("back_blue_count").is_none(), "{device}");
    told.stop();
}

/// What Home Assistant demands of a device (homeassistant/components/mqtt/schemas.py, `DEVICE_DISCOVERY_SCHEMA`) and of the two
/// kinds of entities; what it does not know it refuses.
fn assert_is_a_device(device: &Value) {
    let only = |value: &Value, names: &[&str]| {
        let unknown = value.as_object().unwrap().keys().find(|key| !names.contains(&key.as_str()));
        assert_eq!(unknown, None, "{value}");
    };
    only(device, &["device", "origin", "availability", "components"]);
    only(&device["device"], &["identifiers", "name", "manufacturer", "model", "sw_version"]);
    only(&device["origin"], &["name", "sw_version", "support_url"]);
    assert!(device["device"]["identifiers"][0].is_string() && device["origin"]["name"].is_string());
    assert!(device["origin"]["support_url"].as_str().unwrap().starts_with("https://"));
    let mut ids = std::collections::BTreeSet::new();
    for entity in device["components"].as_object().unwrap().values() {
        only(
            entity,
            &[
                "platform",
                "unique_id",
                "name",
                "device_class",
                "state_topic",
                "value_template",
                "availability",
                "availability_mode",
                "state_class",
                "unit_of_measurement",
                "entity_category",
                "options",
            ],
        );
        assert!(ids.insert(entity["unique_id"].as_str().unwrap()), "{entity}");
        assert!(entity["state_topic"].is_string() && entity["name"].is_string(), "{entity}");
        let is_sensor = entity["platform"] == "sensor";
        assert!(is_sensor || entity["platform"] == "binary_sensor", "{entity}");
        // An enumeration has options and is no measurement; nothing else has options.
        assert_eq!(entity["device_class"] == "enum", entity.get("options").is_some(), "{entity}");
        assert_eq!(
            is_sensor && entity["device_class"] != "enum",
            entity.get("state_class").is_some(),
            "{entity}"
        );
        for source in entity.get("availability").into_iter().flat_map(|a| a.as_array().unwrap()) {
            only(source, &["topic"]);
        }
    }
}

#[test]
fn home_assistant_finds_one_device_and_is_told_again_when_it_starts() {
    let Some(broker) = Broker::start(Door::Open) else { return };
    let topic = "homeassistant/device/yoloslim/config";
    let listener = broker.listen();
    let told = Told::new(&settings(&broker.settings()));
    let device = json_of(Some(listener.next(topic)));
    assert_is_a_device(&device);
    let names: Vec<_> = device["components"].as_object().unwrap().keys().collect();
    // `front` asks for no class: those that it sees are added.
    assert_eq!(
        names,
        [
            "back_all_count",
            "back_all_occupancy",
            "back_frame_rate",
            "back_red_count",
            "back_red_occupancy",
            "back_status",
            "front_all_count",
            "front_all_occupancy",
            "front_frame_rate",
            "front_status"
        ]
    );
    believe(&told.hub, 0, &["blue"], 100.0);
    let device = json_of(Some(listener.next(topic)));
    assert_is_a_device(&device);
    let occupancy = &device["components"]["front_blue_occupancy"];
    assert_eq!(occupancy["state_topic"], "yoloslim/front/blue");
    assert_eq!(
        occupancy["availability"],
        json!([{ "topic": "yoloslim/available" }, { "topic": "yoloslim/front/status/detect" }])
    );
    listener.expect("yoloslim/front/blue", "1");
    assert_eq!(listener.so_far(topic).len(), 0);
    broker.publish("homeassistant/status", "online", false);
    assert_eq!(json_of(Some(listener.next(topic))), device);
    assert_eq!(listener.next("yoloslim/front/blue"), "1");
    told.stop();
}

#[test]
fn discovery_that_nobody_wants_is_not_published() {
    let Some(broker) = Broker::start(Door::Open) else { return };
    let listener = broker.listen();
    let told = Told::new(&settings(&format!(
        "{}discovery_prefix = ''\nprefix = 'home/yolo'\n",
        broker.settings()
    )));
    listener.expect("home/yolo/available", "online");
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(listener.latest("homeassistant/device/home_yolo/config"), None);
    told.stop();
}
