//! How appliances leave a fleet and volumes the directory, as the operator sees it.

use std::time::Duration;

use admin::{
    DeletedVolumeView, DrainView, FleetView, HeldView, LabelsView, OpenInvitationView, Problem,
    ProblemKind, RemovalHow, RemovalView, Undelete, VolumeMembers, VolumeView,
};
use model::VolumeId;
use ownership::{
    DeletedVolume, Drain, FleetCommand, FleetRefusal, Invitation, InvitationDigest, Labels,
    MemberKind, RemoveHow,
};
use router::{Held, HeldAs, OperatorRefusal, kept_until};

use super::fleet::number;
use super::{FleetOperator, problem};
use crate::utc;

/// So often a removal is tried while the appliance still counts as up: longer than a lease.
const STOPPING_TRIES: u32 = 12;
const STOPPING_LOOK: Duration = Duration::from_millis(250);

impl FleetOperator {
    pub(super) async fn start_drain(&self, name: &str) -> Result<DrainView, Problem> {
        self.set_draining(name, Drain::Start).await
    }

    pub(super) async fn end_drain(&self, name: &str) -> Result<DrainView, Problem> {
        self.set_draining(name, Drain::Stop).await
    }

    async fn set_draining(&self, name: &str, drain: Drain) -> Result<DrainView, Problem> {
        let appliance = self.named(name)?;
        let command = FleetCommand::SetDraining { appliance, drain };
        self.router.command(command).await.map_err(problem)?;
        self.drain_view(name).await
    }

    pub(super) async fn drain_view(&self, name: &str) -> Result<DrainView, Problem> {
        let appliance = self.named(name)?;
        let held = self.router.held_by(appliance).await;
        let draining = self.router.fleet_now().member(appliance).is_some_and(|m| m.draining);
        let volumes: Vec<HeldView> = held.iter().map(|held| self.held_view(held)).collect();
        Ok(DrainView {
            name: self.name_of(appliance),
            draining,
            files_left: volumes.iter().filter_map(|volume| volume.files).sum(),
            done: volumes.is_empty(),
            volumes,
        })
    }

    pub(super) async fn removal_view(&self, name: &str) -> Result<RemovalView, Problem> {
        let appliance = self.named(name)?;
        let held = self.router.held_by(appliance).await;
        let unknown = held.iter().filter(|h| h.copies.is_none() && h.held != HeldAs::Deleted);
        Ok(RemovalView {
            name: self.name_of(appliance),
            appliance: number(appliance),
            up: self.router.fleet_now().is_up(appliance),
            files_alone: held.iter().filter_map(|h| Some(h.copies.as_ref()?.alone)).sum(),
            unknown: unknown.map(|held| held.name.clone()).collect(),
            volumes: held.iter().map(|held| self.held_view(held)).collect(),
        })
    }

    pub(super) async fn remove_for_ever(
        &self,
        name: &str,
        how: RemovalHow,
    ) -> Result<RemovalView, Problem> {
        let appliance = self.named(name)?;
        // Before: afterwards nobody remembers what it had.
        let view = self.removal_view(name).await?;
        let how = match how {
            RemovalHow::Planned => RemoveHow::Planned,
            RemovalHow::Dead => RemoveHow::Dead,
        };
        let command = FleetCommand::Remove { appliance, how };
        let mut tries = 0;
        loop {
            match self.router.command(command.clone()).await {
                Ok(_) => return Ok(view),
                // One that was stopped just now counts as up until its lease is over.
                Err(OperatorRefusal::Fleet(FleetRefusal::StillUp(_))) if tries < STOPPING_TRIES => {
                    tries += 1;
                    tokio::time::sleep(STOPPING_LOOK).await;
                }
                Err(refusal) => return Err(problem(refusal)),
            }
        }
    }

    fn held_view(&self, held: &Held) -> HeldView {
        HeldView {
            volume: held.name.clone(),
            id: held.volume.get(),
            held: match held.held {
                HeldAs::Member => "member".to_owned(),
                HeldAs::Leaving => "leaving".to_owned(),
                HeldAs::Deleted => "deleted".to_owned(),
            },
            others: held.others.iter().map(|id| self.name_of(*id)).collect(),
            files: held.copies.as_ref().map(|copies| copies.files),
            files_alone: held.copies.as_ref().map(|copies| copies.alone),
            examples: held.copies.as_ref().map(|c| c.examples.clone()).unwrap_or_default(),
            note: note(held),
        }
    }

    pub(super) async fn label(&self, name: &str, wanted: LabelsView) -> Result<FleetView, Problem> {
        let (appliance, labels) = (self.named(name)?, Labels(wanted.labels));
        let command = FleetCommand::SetLabels { appliance, labels };
        self.router.command(command).await.map_err(problem)?;
        Ok(self.fleet_view())
    }

    pub(super) fn known_invitations(&self) -> Vec<OpenInvitationView> {
        let now = self.clock.wall();
        let view = |invitation: &Invitation| OpenInvitationView {
            id: invitation_id(&invitation.digest),
            kind: match invitation.kind {
                MemberKind::Full => "full".to_owned(),
                MemberKind::Witness => "witness".to_owned(),
            },
            expires: utc::rfc3339(invitation.expires),
            good_for_seconds: utc::seconds_until(invitation.expires, now),
            used_by: invitation.used_by.map(|id| self.name_of(id)),
        };
        self.router.fleet_now().invitations().iter().map(view).collect()
    }

    pub(super) async fn revoke(&self, id: &str) -> Result<(), Problem> {
        let fleet = self.router.fleet_now();
        let found = fleet.invitations().iter().find(|i| invitation_id(&i.digest) == id);
        let digest = found.map(|invitation| invitation.digest).ok_or_else(|| {
            let detail =
                format!("there is no invitation {id:?}; `holdfast fleet invitations` lists them");
            Problem::new(ProblemKind::NotFound, detail)
        })?;
        let revoke = FleetCommand::RevokeInvitation { digest };
        self.router.command(revoke).await.map(drop).map_err(problem)
    }

    pub(super) async fn set_holders(
        &self,
        name: &str,
        wanted: VolumeMembers,
    ) -> Result<VolumeView, Problem> {
        let on = wanted.on.iter().map(|name| self.named(name)).collect::<Result<Vec<_>, _>>()?;
        self.router.set_volume_members(name, on).await.map_err(problem)?;
        self.volume_view(name)
    }

    pub(super) async fn take_volume_out(&self, name: &str) -> Result<DeletedVolumeView, Problem> {
        let deleted = self.router.delete_volume(name).await.map_err(problem)?;
        Ok(self.deleted_view(&deleted))
    }

    pub(super) fn all_deleted(&self) -> Vec<DeletedVolumeView> {
        let fleet = self.router.fleet_now();
        fleet.deleted_volumes().iter().map(|deleted| self.deleted_view(deleted)).collect()
    }

    fn deleted_view(&self, deleted: &DeletedVolume) -> DeletedVolumeView {
        let until = kept_until(deleted);
        DeletedVolumeView {
            name: deleted.info.name.clone(),
            id: deleted.info.id.get(),
            at: utc::rfc3339(deleted.at),
            kept_until: utc::rfc3339(until),
            kept_seconds: utc::seconds_until(until, self.clock.wall()),
        }
    }

    pub(super) async fn bring_back(
        &self,
        which: &str,
        wanted: Undelete,
    ) -> Result<VolumeView, Problem> {
        let (volume, had) = self.deleted_one(which)?;
        let name = wanted.name.unwrap_or(had);
        self.router.undelete_volume(volume, name.clone()).await.map_err(problem)?;
        self.volume_view(&name)
    }

    pub(super) async fn purge(&self, which: &str) -> Result<(), Problem> {
        let (volume, _) = self.deleted_one(which)?;
        self.router.purge_volume(volume).await.map_err(problem)
    }

    /// A deleted volume by the name that it had, or by its number.
    fn deleted_one(&self, which: &str) -> Result<(VolumeId, String), Problem> {
        let fleet = self.router.fleet_now();
        match pick(fleet.deleted_volumes(), which) {
            Picked::One(volume, name) => Ok((volume, name)),
            Picked::None => {
                let detail = format!(
                    "no deleted volume was called {which:?}; `holdfast volume list --deleted` \
                     shows those that can be brought back"
                );
                Err(Problem::new(ProblemKind::NotFound, detail))
            }
            Picked::Several(numbers) => {
                let detail = format!(
                    "several deleted volumes were called {which:?}: say which, by number: {numbers}"
                );
                Err(Problem::new(ProblemKind::Conflict, detail))
            }
        }
    }
}

/// Which deleted volume is meant.
#[derive(Debug, PartialEq, Eq)]
enum Picked {
    One(VolumeId, String),
    None,
    Several(String),
}

fn pick(deleted: &[DeletedVolume], which: &str) -> Picked {
    let infos = || deleted.iter().map(|deleted| &deleted.info);
    let named: Vec<_> = infos().filter(|info| info.name == which).collect();
    match named.as_slice() {
        [one] => Picked::One(one.id, one.name.clone()),
        [] => {
            let number = which.parse().ok().map(VolumeId::new);
            let found = infos().find(|info| Some(info.id) == number);
            found.map_or(Picked::None, |info| Picked::One(info.id, info.name.clone()))
        }
        several => {
            let numbers: Vec<String> = several.iter().map(|info| info.id.to_string()).collect();
            Picked::Several(numbers.join(", "))
        }
    }
}

/// What is in the way of an appliance's leaving.
fn note(held: &Held) -> Option<String> {
    let name = &held.name;
    match held.held {
        HeldAs::Deleted => Some(format!(
            "the volume is deleted, and kept until its time is over: \
             `holdfast volume purge {name}` ends that now"
        )),
        HeldAs::Member if held.others.is_empty() => Some(format!(
            "nobody else holds the volume: let another take it with \
             `holdfast volume members {name} --on NAMES`, or delete it"
        )),
        HeldAs::Member | HeldAs::Leaving if 2 * held.up <= held.others.len() + 1 => {
            Some("too few of those who hold the volume are up: it can't decide anything".to_owned())
        }
        HeldAs::Member => Some(
            "it holds the volume still: a drain gives its place to another, or leaves it to the \
             others if there is none"
                .to_owned(),
        ),
        HeldAs::Leaving if held.copies.is_none() => {
            Some("nobody who could tell what is left there can be asked".to_owned())
        }
        HeldAs::Leaving => None,
    }
}

/// The beginning of an invitation's digest: enough to tell 64 of them apart, and no secret.
pub fn invitation_id(digest: &InvitationDigest) -> String {
    digest.0[..INVITATION_ID_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

const INVITATION_ID_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    use model::{ApplianceId, LossCount, RootDirectory, Timestamp, VolumeInfo};

    use super::*;

    fn deleted(id: u64, name: &str) -> DeletedVolume {
        let info = VolumeInfo {
            id: VolumeId::new(id),
            name: name.to_owned(),
            exports: Vec::new(),
            loss_count: LossCount::default(),
            root: RootDirectory::default(),
        };
        DeletedVolume { info, at: Timestamp::default() }
    }

    #[test]
    fn a_deleted_volume_is_named_by_its_name_or_if_several_had_it_by_its_number() {
        let all = [deleted(3, "media"), deleted(4, "films"), deleted(5, "films")];
        let media = Picked::One(VolumeId::new(3), "media".to_owned());
        assert_eq!(pick(&all, "media"), media);
        assert_eq!(pick(&all, "3"), media);
        assert_eq!(pick(&all, "films"), Picked::Several("4, 5".to_owned()));
        assert_eq!(pick(&all, "5"), Picked::One(VolumeId::new(5), "films".to_owned()));
        assert_eq!(pick(&all, "none"), Picked::None);
        assert_eq!(pick(&all, "6"), Picked::None);
    }

    #[test]
    fn what_is_in_the_way_of_leaving_is_said() {
        let (ada, bob) = (ApplianceId::new(1), ApplianceId::new(2));
        let held = |held, others: &[ApplianceId], up| Held {
            volume: VolumeId::new(1),
            name: "media".to_owned(),
            held,
            others: others.to_vec(),
            up,
            copies: Some(router::CopiesReport::default()),
        };
        let said = |held: &Held| note(held).unwrap_or_default();
        assert!(said(&held(HeldAs::Deleted, &[ada], 1)).contains("purge media"));
        assert!(said(&held(HeldAs::Member, &[], 0)).contains("nobody else"));
        assert!(said(&held(HeldAs::Member, &[ada], 1)).contains("too few"));
        assert!(said(&held(HeldAs::Member, &[ada, bob], 1)).contains("too few"));
        assert!(said(&held(HeldAs::Member, &[ada, bob], 2)).contains("its place to another"));
        assert_eq!(note(&held(HeldAs::Leaving, &[ada, bob], 2)), None);
    }
}
