//! How Home Assistant learns of sources and classes: one device with all its entities
//! (<https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>).
use super::topics::{ALL, Topics, slug};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

/// What a source's status may be, as Home Assistant must know beforehand.
pub(super) const STATES: [&str; 8] =
    ["online", "starting", "ended", "stale", "frozen", "green", "damaged", "decoder"];

/// A source as a part of the device.
pub(super) struct Camera<'a> {
    pub(super) name: &'a str,
    /// Parts of topics of the classes that are counted.
    pub(super) parts: &'a BTreeSet<String>,
}

/// The device with its entities.
pub(super) fn device<'a>(topics: &Topics, cameras: impl Iterator<Item = Camera<'a>>) -> Value {
    let (id, version) = (topics.id(), env!("CARGO_PKG_VERSION"));
    let components: Map<String, Value> =
        cameras.flat_map(|camera| components(topics, &camera)).collect();
    json!({
        "device": {
            "identifiers": [id],
            "name": id,
            "manufacturer": "yoloslim",
            "model": "yoloslim serve",
            "sw_version": version,
        },
        "origin": {
            "name": "yoloslim",
            "sw_version": version,
            "support_url": env!("CARGO_PKG_REPOSITORY"),
        },
        "availability": [{ "topic": topics.available() }],
        "components": components,
    })
}

/// A source's entities by their ids.
fn components(topics: &Topics, camera: &Camera<'_>) -> Vec<(String, Value)> {
    let name = camera.name;
    // What a source that has no pictures sees is unknown, and not nothing.
    let seeing = json!([{ "topic": topics.available() }, { "topic": topics.detects(name) }]);
    let mut entities = Vec::new();
    for part in camera.parts.iter().map(String::as_str).chain([ALL]) {
        let (id, topic) = (format!("{name}_{}", slug(part)), topics.count(name, part));
        let occupancy = json!({
            "platform": "binary_sensor",
            "name": format!("{name} {part} occupancy"),
            "device_class": "occupancy",
            "state_topic": topic,
            "value_template": "{{ 'ON' if value | int(0) > 0 else 'OFF' }}",
            "availability": seeing,
            "availability_mode": "all",
        });
        let count = json!({
            "platform": "sensor",
            "name": format!("{name} {part} count"),
            "state_topic": topic,
            "state_class": "measurement",
            "unit_of_measurement": "objects",
            "availability": seeing,
            "availability_mode": "all",
        });
        entities.extend([(format!("{id}_occupancy"), occupancy), (format!("{id}_count"), count)]);
    }
    let fps = json!({
        "platform": "sensor",
        "name": format!("{name} frame rate"),
        "state_topic": topics.stats(),
        "value_template": format!("{{{{ value_json.cameras['{name}'].process_fps }}}}"),
        "state_class": "measurement",
        "unit_of_measurement": "fps",
        "entity_category": "diagnostic",
    });
    let status = json!({
        "platform": "sensor",
        "name": format!("{name} status"),
        "state_topic": topics.status(name),
        "device_class": "enum",
        "options": STATES,
        "entity_category": "diagnostic",
    });
    // Two that no class can have the names of: a class's end with what is told of it.
    entities.extend([(format!("{name}_frame_rate"), fps), (format!("{name}_status"), status)]);
    for (id, entity) in &mut entities {
        entity["unique_id"] = json!(format!("{}_{id}", topics.id()));
    }
    entities
}
