//! What the running appliance says of itself.
//!
//! Invariant: what is absent or new in an answer is no fault; an appliance of another version is
//! understood as far as it can be. Absent on purpose: what is shown of it.

use std::time::Duration;

use serde::Deserialize;
use serde_json::from_str;

use crate::children::{Children, Task};
use crate::health::{Fleet, Seen};
use crate::places::program;

/// What it said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Of itself; none if it did not answer.
    pub appliance: Option<ApplianceSays>,
    /// Of its fleet; none if it did not answer that.
    pub fleet: Option<FleetSays>,
}

/// Of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct ApplianceSays {
    /// What people call it.
    pub name: String,
    /// The program's version.
    pub version: String,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Where operators on other machines ask.
    pub admin: Option<Admin>,
    /// Floating addresses of the fleet.
    pub addresses: Vec<Floating>,
}

/// A volume.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Volume {
    /// Its name.
    pub name: String,
    /// What clients mount.
    pub export_path: String,
    /// `in_sync`, `resyncing`, `degraded`, `unavailable` or `unknown`.
    pub state: String,
}

/// Where operators on other machines ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Admin {
    /// Where it listens.
    pub listen: String,
    /// SHA-256 of its certificate, in hex.
    pub fingerprint: String,
}

/// A floating address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Floating {
    /// With its subnet.
    pub address: String,
    /// Who has it, by name.
    pub holder: Option<String>,
}

/// Of its fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FleetSays {
    /// Who leads it.
    pub leader: Option<String>,
    /// Its appliances.
    pub members: Vec<Member>,
}

/// An appliance of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Member {
    /// What people call it.
    pub name: String,
    /// Whether the fleet takes it for up.
    pub up: bool,
}

impl Status {
    /// Whether that is well.
    pub fn seen(&self) -> Seen {
        let fleet = self.fleet.as_ref().map(|fleet| Fleet {
            members: fleet.members.len(),
            has_leader: fleet.leader.is_some(),
        });
        Seen { answers: self.appliance.is_some(), fleet }
    }
}

/// Asks the appliance behind `socket`; none is its default.
pub fn ask(children: &Children, socket: Option<&str>) -> Status {
    let ask = |words: &[&'static str]| {
        let socket = socket.map(|socket| ["--socket", socket]);
        let words = words.iter().copied().chain(["--json"]);
        let task = Task::new(program::HOLDFAST, words.chain(socket.into_iter().flatten()));
        // It may not have started yet, or be too busy: both are no answer.
        children.must(&task, PATIENCE).ok()
    };
    let Some(appliance) = ask(&["status"]).and_then(|text| from_str(&text).ok()) else {
        return Status::default();
    };
    let fleet = ask(&["fleet", "status"]).and_then(|text| from_str(&text).ok());
    Status { appliance: Some(appliance), fleet }
}

const PATIENCE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_understood_whatever_is_new_or_missing_in_it() {
        let says: ApplianceSays = from_str(
            r#"{"name": "ada", "version": "0.1.0", "view": 3, "tomorrow": {"x": []},
                "volumes": [{"name": "media", "export_path": "/media", "objects": 7}],
                "admin": null}"#,
        )
        .unwrap();
        assert_eq!((says.name.as_str(), says.volumes.len()), ("ada", 1));
        assert_eq!(says.volumes[0].export_path, "/media");
        assert_eq!(says.volumes[0].state, "");
        assert_eq!(from_str::<ApplianceSays>("{}").unwrap(), ApplianceSays::default());
        assert!(from_str::<ApplianceSays>("holdfast: it does not run").is_err());
    }

    #[test]
    fn what_is_seen_is_what_was_said() {
        let fleet: FleetSays = from_str(
            r#"{"leader": "1f", "members": [{"name": "ada", "up": true}, {"name": "bob"}]}"#,
        )
        .unwrap();
        assert_eq!(fleet.members.iter().filter(|member| member.up).count(), 1);
        let status = Status { appliance: Some(ApplianceSays::default()), fleet: Some(fleet) };
        let fleet = Some(Fleet { members: 2, has_leader: true });
        assert_eq!(status.seen(), Seen { answers: true, fleet });
        assert_eq!(Status::default().seen(), Seen { answers: false, fleet: None });
    }
}
