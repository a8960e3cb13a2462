//! Names of topics, and what stands in them.

/// The server, or a source, is there.
pub(super) const ONLINE: &str = "online";

/// It is not.
pub(super) const OFFLINE: &str = "offline";

/// Stands in the place of a class for the objects of all classes.
pub(super) const ALL: &str = "all";

/// What a topic below a source names besides its classes.
const TAKEN: [&str; 2] = [ALL, "status"];

/// Topics of one server.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    prefix: String,
    /// Of Home Assistant's discovery, if it is told.
    discovery: Option<String>,
}

impl Topics {
    pub(super) fn new(prefix: &str, discovery: &str) -> Self {
        let discovery = discovery.trim_matches('/');
        Self {
            prefix: prefix.trim_matches('/').to_owned(),
            discovery: (!discovery.is_empty()).then(|| discovery.to_owned()),
        }
    }

    /// Whether the server is there.
    pub(super) fn available(&self) -> String {
        format!("{}/available", self.prefix)
    }

    /// What becomes of objects.
    pub(super) fn events(&self) -> String {
        format!("{}/events", self.prefix)
    }

    /// How fast everything is.
    pub(super) fn stats(&self) -> String {
        format!("{}/stats", self.prefix)
    }

    /// How many objects of a class a source sees, by the class's part of a topic.
    pub(super) fn count(&self, camera: &str, part: &str) -> String {
        format!("{}/{camera}/{part}", self.prefix)
    }

    /// What a source is doing.
    pub(super) fn status(&self, camera: &str) -> String {
        format!("{}/{camera}/status", self.prefix)
    }

    /// Whether a source has pictures that are looked at.
    pub(super) fn detects(&self, camera: &str) -> String {
        format!("{}/{camera}/status/detect", self.prefix)
    }

    /// The class's part of a topic and its source, of a count.
    pub(super) fn of_count<'a>(&self, topic: &'a str) -> Option<[&'a str; 2]> {
        let (camera, part) =
            topic.strip_prefix(&self.prefix)?.strip_prefix('/')?.split_once('/')?;
        (!part.contains('/') && !TAKEN.contains(&part)).then_some([camera, part])
    }

    /// Where Home Assistant looks for devices, if it is told.
    pub(super) fn device(&self) -> Option<String> {
        self.discovery.as_ref().map(|discovery| format!("{discovery}/device/{}/config", self.id()))
    }

    /// Where Home Assistant says that it has started, if it is told.
    pub(super) fn home_assistant(&self) -> Option<String> {
        self.discovery.as_ref().map(|discovery| format!("{discovery}/status"))
    }

    /// The server's name in Home Assistant: the same as long as its topics are.
    pub(super) fn id(&self) -> String {
        slug(&self.prefix)
    }
}

/// A class's part of a topic: its name, but for signs that mean something in topics.
pub(super) fn part(label: &str) -> String {
    let mut part = label.replace(['/', '+', '#', '\0'], "_");
    if TAKEN.contains(&part.as_str()) {
        part.push('_');
    }
    part
}

/// A text of letters, digits, `-` and `_`.
pub(super) fn slug(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn part_of_a_label_with_signs_of_topics_names_one_level_and_no_other_topic() {
        assert_eq!(part("traffic light"), "traffic light");
        assert_eq!(part("a/b+#"), "a_b__");
        assert_eq!(part("all"), "all_");
        let topics = Topics::new("home/yolo/", "");
        assert_eq!(topics.of_count("home/yolo/front/dog"), Some(["front", "dog"]));
        for other in [
            "home/yolo/front/all",
            "home/yolo/stats",
            "home/yolo/front/dog/snapshot",
            "home/yolox/front/dog",
        ] {
            assert_eq!(topics.of_count(other), None, "{other}");
        }
        assert_eq!((topics.device(), topics.id()), (None, "home_yolo".to_owned()));
    }
}
