//! A message as JSON, for those who take one record of any kind after another.
use crate::message::Message;
use serde::Serialize;

/// A message as one line of JSON, its kind before its fields; none for a frame.
pub(super) fn event(message: &Message) -> Option<String> {
    match message {
        Message::Frame(_) | Message::Ended => None,
        Message::Object(event) => tagged("object", &**event),
        Message::Source(event) => tagged("source", &**event),
        Message::Model(event) => tagged("model", &**event),
        Message::Machine(event) => tagged("machine", &**event),
    }
}

/// A record with its kind before it.
pub(super) fn tagged(kind: &'static str, record: &impl Serialize) -> Option<String> {
    #[derive(Serialize)]
    struct Tagged<'a, T> {
        kind: &'static str,
        #[serde(flatten)]
        record: &'a T,
    }
    // Records of plain fields always become JSON.
    serde_json::to_string(&Tagged { kind, record }).ok()
}
