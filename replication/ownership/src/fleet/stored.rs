//! The fleet as format 1 stored it: one appliance, which founded every volume.

use std::collections::BTreeMap;

use model::{ApplianceId, Incarnation, View, VolumeId, VolumeInfo};
use serde::Deserialize;

use super::member::{Member, Secret};
use super::{Fleet, Seats};

/// The fleet as format 1 stored it. Read once, and written anew as [`Fleet`].
#[derive(Clone, Debug, Deserialize)]
pub struct FleetV1 {
    secret: Option<Secret>,
    members: Vec<MemberV1>,
    view: View,
    volumes: Vec<VolumeInfo>,
    last_volume: VolumeId,
}

#[derive(Clone, Debug, Deserialize)]
struct MemberV1 {
    id: ApplianceId,
    name: String,
    incarnation: Incarnation,
    up: bool,
}

impl From<FleetV1> for Fleet {
    fn from(old: FleetV1) -> Self {
        let FleetV1 { secret, members, view, volumes, last_volume } = old;
        let founder = members.first().map(|member| member.id);
        let founders: Vec<ApplianceId> = founder.into_iter().collect();
        let seats = |info: &VolumeInfo| {
            let (founders, members) = (founders.clone(), founders.clone());
            (info.id, Seats { founders, members, leaving: Vec::new() })
        };
        let seats: BTreeMap<VolumeId, Seats> = volumes.iter().map(seats).collect();
        let member = |old: MemberV1| Member {
            incarnation: old.incarnation,
            up: old.up,
            ..Member::new(old.id, old.name)
        };
        let members = members.into_iter().map(member).collect();
        Self { secret, founder, members, view, volumes, seats, last_volume, ..Self::default() }
    }
}
