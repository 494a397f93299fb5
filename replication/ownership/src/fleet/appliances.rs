//! How appliances come up, go down and leave: each of these makes a new view.

use std::net::SocketAddr;

use model::{ApplianceId, Incarnation, VolumeId};

use super::member::{Labels, Member};
use super::{Fleet, FleetAnswer, FleetRefusal, RemoveHow};

/// One volume that an appliance has a part in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub volume: VolumeId,
    /// Its name; of a deleted one the name it had.
    pub name: String,
    /// Who else shall hold it.
    pub others: Vec<ApplianceId>,
}

/// What stands between an appliance and its removal, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoveReport {
    /// Whether it is up: it must be stopped first.
    pub up: bool,
    /// The volumes it has a part in; one without others is lost with it.
    pub parts: Vec<Part>,
}

impl Fleet {
    /// What stands between `appliance` and its removal.
    pub fn explain_remove(&self, appliance: ApplianceId) -> RemoveReport {
        let live = self.volumes.iter();
        let infos = live.chain(self.deleted.iter().map(|deleted| &deleted.info));
        let parts = infos.filter_map(|info| {
            let seats = self.seats.get(&info.id).filter(|seats| seats.includes(appliance))?;
            let others = seats.members.iter().copied().filter(|other| *other != appliance);
            Some(Part { volume: info.id, name: info.name.clone(), others: others.collect() })
        });
        RemoveReport { up: self.is_up(appliance), parts: parts.collect() }
    }

    pub(super) fn up(
        &mut self,
        appliance: ApplianceId,
        name: String,
        reach: Option<(Vec<SocketAddr>, Labels)>,
        clean: bool,
    ) -> Result<FleetAnswer, FleetRefusal> {
        if self.removed.contains(&appliance) {
            return Err(FleetRefusal::Removed(appliance));
        }
        let mut member = self.member_mut(appliance)?.clone();
        member.incarnation = member.incarnation.next();
        member.name = name;
        member.up = true;
        if let Some((addresses, labels)) = reach {
            (member.addresses, member.labels) = (addresses, labels);
            self.check_member(&member)?;
        }
        let incarnation = member.incarnation;
        *self.member_mut(appliance)? = member;
        self.view = self.view.next();
        if !clean {
            // One entry for both: a verifier asked for under the new view already tells the loss.
            self.raise_loss_counts_of(appliance);
        }
        self.settle_addresses();
        Ok(FleetAnswer::Up { incarnation, view: self.view })
    }

    pub(super) fn down(
        &mut self,
        appliance: ApplianceId,
        incarnation: Incarnation,
    ) -> Result<(), FleetRefusal> {
        let lone = self.members.len() == 1;
        let member = self.member_mut(appliance)?;
        if !member.up || member.incarnation != incarnation {
            return Err(FleetRefusal::RunOver { appliance, incarnation });
        }
        if lone {
            // It holds its lease for ever; nobody may call it down.
            return Err(FleetRefusal::LastAppliance(appliance));
        }
        member.up = false;
        self.view = self.view.next();
        self.raise_loss_counts_of(appliance);
        self.settle_addresses();
        Ok(())
    }

    pub(super) fn remove(
        &mut self,
        appliance: ApplianceId,
        how: RemoveHow,
    ) -> Result<(), FleetRefusal> {
        let name = self.member_mut(appliance)?.name.clone();
        if self.members.len() == 1 {
            return Err(FleetRefusal::LastAppliance(appliance));
        }
        let report = self.explain_remove(appliance);
        if report.up {
            return Err(FleetRefusal::StillUp(name));
        }
        match how {
            RemoveHow::Planned if !report.parts.is_empty() => {
                return Err(FleetRefusal::StillMember { name, volumes: report.parts.len() });
            }
            RemoveHow::Planned | RemoveHow::Dead => {}
        }
        if let Some(lost) = report.parts.into_iter().find(|part| part.others.is_empty()) {
            return Err(FleetRefusal::OnlyHolder { name, volume: lost.name });
        }
        for seats in self.seats.values_mut() {
            seats.forget(appliance);
        }
        self.members.retain(|member| member.id != appliance);
        self.removed.insert(appliance);
        self.view = self.view.next();
        self.forget_offers(appliance);
        self.settle_addresses();
        Ok(())
    }

    pub(super) fn member_mut(
        &mut self,
        appliance: ApplianceId,
    ) -> Result<&mut Member, FleetRefusal> {
        let found = self.members.iter_mut().find(|member| member.id == appliance);
        found.ok_or(FleetRefusal::UnknownAppliance(appliance))
    }
}
