//! Labels that every number has: the client id, and those of the application, under names that any reader takes.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::planted::planted;

/// What the numbers themselves are told apart by, whichever has it, and what the formats of distributions need.
const OURS: [&str; 6] = ["client_id", "node_id", "server", "topic", "le", "quantile"];

/// What comes before a name that is taken. Prometheus does so, too, where a target has a label that the scraper gives it.
const EXPORTED: &str = "exported_";

/// The client id, then the application's labels in their order, renamed where [`write_prometheus`] says so.
///
/// [`write_prometheus`]: super::Metrics::write_prometheus
pub(super) fn of_all(client_id: &str, labels: &[(&str, &str)]) -> Vec<(String, String)> {
    let mut all = alloc::vec![("client_id".to_string(), client_id.to_string())];
    for (name, value) in labels {
        let mut name = legal(name);
        let is_taken =
            |name: &str| OURS.contains(&name) || name.starts_with("__") || all.iter().any(|(other, _)| other == name);
        while is_taken(&name) && !planted("labels-clash") {
            name.insert_str(0, EXPORTED);
        }
        all.push((name, (*value).to_string()));
    }
    all
}

/// The name with `_` for whatever may not stand in one.
fn legal(name: &str) -> String {
    let mut legal = String::with_capacity(name.len() + 1);
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        legal.push('_');
    }
    legal.extend(name.chars().map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '_' }));
    legal
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Group;

    fn names(labels: &[&str]) -> Vec<String> {
        let labels: Vec<(&str, &str)> = labels.iter().map(|name| (*name, "x")).collect();
        of_all("c", &labels).into_iter().skip(1).map(|(name, _)| name).collect()
    }

    #[test]
    fn a_name_is_made_legal() {
        assert_eq!(names(&["zone", "a.b-c", "9", "", "größe", "Ok_9"]), ["zone", "a_b_c", "_9", "_", "gr__e", "Ok_9"]);
    }

    #[test]
    fn a_name_that_is_taken_is_renamed_until_it_is_free() {
        assert_eq!(names(&OURS), OURS.map(|name| alloc::format!("exported_{name}")));
        assert_eq!(names(&["a", "a", "a"]), ["a", "exported_a", "exported_exported_a"]);
        assert_eq!(names(&["exported_topic", "topic"]), ["exported_topic", "exported_exported_topic"]);
        assert_eq!(names(&["a.b", "a_b"]), ["a_b", "exported_a_b"]);
        assert_eq!(names(&["__name__", "--x"]), ["exported___name__", "exported___x"]);
    }

    #[test]
    fn ours_are_all_that_a_sample_has() {
        let groups = [Group::Producer, Group::Node { id: None, host: "h", port: 1 }, Group::Topic("t")];
        for (name, _) in groups.into_iter().flat_map(Group::labels) {
            assert!(OURS.contains(&name), "{name}");
        }
    }
}
