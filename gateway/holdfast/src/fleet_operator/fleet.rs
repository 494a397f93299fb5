//! The fleet, its files' whereabouts and its jobs, as the operator sees them.

use std::time::Duration;

use admin::{FleetView, InvitationView, Invite, JobView, Join, MemberView, Problem, ProblemKind};
use model::{ApplianceId, Timestamp, VolumeInfo};
use ownership::{Authority, FleetCommand, InvitationDigest, Member, MemberKind};
use router::{JobId, JobReport, TransferPhase, TransferStatus};

use super::leaving::invitation_id;
use super::{FleetOperator, problem};
use crate::fleet;

impl FleetOperator {
    pub(super) fn fleet_view(&self) -> FleetView {
        let fleet = self.router.fleet_now();
        let (membership, leader) = self.router.fleet_group();
        let held = |id: ApplianceId| {
            let holds = |info: &&VolumeInfo| fleet.volume_members(info.id).contains(&id);
            fleet.volumes().iter().filter(holds).map(|info| info.name.clone()).collect()
        };
        let member = |member: &Member| MemberView {
            name: member.name.clone(),
            appliance: number(member.id),
            addresses: member.addresses.iter().map(ToString::to_string).collect(),
            labels: member.labels.0.clone(),
            kind: match member.kind {
                MemberKind::Full => "full".to_owned(),
                MemberKind::Witness => "witness".to_owned(),
            },
            up: member.up,
            draining: member.draining,
            votes: membership.voters.contains(&member.id),
            volumes: held(member.id),
        };
        FleetView {
            view: fleet.view().get(),
            tolerates: fleet.tolerates_loss(&membership).to_string(),
            leader: leader.map(number),
            members: fleet.members().iter().map(member).collect(),
        }
    }

    pub(super) async fn make_joinable(&self) -> Result<FleetView, Problem> {
        self.config.mesh.addresses().map_err(|e| Problem::new(ProblemKind::Conflict, e))?;
        let authority = Authority(fleet::new_authority(self.entropy.as_ref(), self.clock.as_ref()));
        self.router.command(FleetCommand::SetAuthority { authority }).await.map_err(problem)?;
        Ok(self.fleet_view())
    }

    pub(super) async fn make_invitation(&self, wanted: Invite) -> Result<InvitationView, Problem> {
        let fleet = self.router.fleet_now();
        let authority = fleet.authority().ok_or_else(|| {
            let detail = "this appliance can't be joined yet: say `holdfast fleet init`";
            Problem::new(ProblemKind::Conflict, detail)
        })?;
        let invitation = fleet::new_invitation(&authority.0, self.entropy.as_ref())
            .map_err(|e| Problem::new(ProblemKind::Fault, e))?;
        let now = self.clock.wall();
        let life = u64::try_from(INVITATION_LIFE.as_nanos()).unwrap_or(u64::MAX);
        let invite = FleetCommand::Invite {
            digest: InvitationDigest(invitation.digest()),
            expires: Timestamp::from_nanos(now.as_nanos().saturating_add(life)),
            kind: kind_of(wanted.witness),
            now,
        };
        self.router.command(invite).await.map_err(problem)?;
        let addresses = self.config.mesh.addresses().unwrap_or_default();
        Ok(InvitationView {
            token: invitation.to_string(),
            addresses: addresses.iter().map(ToString::to_string).collect(),
            good_for_seconds: INVITATION_LIFE.as_secs(),
            id: invitation_id(&InvitationDigest(invitation.digest())),
        })
    }

    pub(super) async fn join_fleet(&self, wanted: Join) -> Result<(), Problem> {
        let Join { token, address, witness } = wanted;
        let address = address.parse().map_err(|_| {
            let detail = format!("{address:?} is no address and port, such as 10.0.0.5:2050");
            Problem::new(ProblemKind::BadRequest, detail)
        })?;
        let clock = self.clock.clone();
        let invitation = token
            .parse()
            .map_err(|bad| Problem::new(ProblemKind::BadRequest, format!("the token: {bad}")))?;
        let at = (address, fleet::JOIN_WAIT);
        fleet::join(&self.opened, &self.config, clock, &invitation, at, kind_of(witness))
            .await
            .map_err(|e| Problem::new(ProblemKind::Conflict, e))?;
        // The appliance starts anew; if it is stopping already, that is as well.
        let _ = self.joined.try_send(());
        Ok(())
    }

    pub(super) async fn find_job(&self, id: &str) -> Result<JobView, Problem> {
        let id = job_id(id)?;
        let status = self.router.job(id).await.map_err(problem)?;
        Ok(job_view(id, "a transfer".to_owned(), status))
    }

    pub(super) async fn break_job_off(&self, id: &str) -> Result<JobView, Problem> {
        let id = job_id(id)?;
        let status = self.router.cancel_job(id).await.map_err(problem)?;
        Ok(job_view(id, "a transfer".to_owned(), status))
    }

    pub(super) async fn all_jobs(&self) -> Vec<JobView> {
        let view = |job: JobReport| {
            let to = self.name_of(job.to);
            let subject = format!("object {} of volume {} to {to}", job.object, job.volume);
            job_view(job.id, subject, job.status)
        };
        self.router.all_jobs().await.into_iter().map(view).collect()
    }

    pub(super) fn name_of(&self, appliance: ApplianceId) -> String {
        let fleet = self.router.fleet_now();
        fleet.member(appliance).map_or_else(|| number(appliance), |member| member.name.clone())
    }

    /// An appliance by its name, or by its number in hex.
    pub(super) fn named(&self, text: &str) -> Result<ApplianceId, Problem> {
        let fleet = self.router.fleet_now();
        let is_it = |member: &&Member| member.name == text || number(member.id) == text;
        fleet.members().iter().find(is_it).map(|member| member.id).ok_or_else(|| {
            let detail =
                format!("no appliance is called {text:?}; `holdfast fleet status` lists them");
            Problem::new(ProblemKind::NotFound, detail)
        })
    }
}

fn kind_of(witness: bool) -> MemberKind {
    if witness { MemberKind::Witness } else { MemberKind::Full }
}

pub(super) fn number(appliance: ApplianceId) -> String {
    format!("{:016x}", appliance.get())
}

fn job_id(text: &str) -> Result<JobId, Problem> {
    let parsed = text.split_once('-').and_then(|(at, job)| {
        let at = ApplianceId::new(u64::from_str_radix(at, 16).ok()?);
        Some(JobId { at, number: u64::from_str_radix(job, 16).ok()? })
    });
    let detail = || format!("{text:?} is no job's number");
    parsed.ok_or_else(|| Problem::new(ProblemKind::BadRequest, detail()))
}

pub(super) fn job_view(id: JobId, subject: String, status: TransferStatus) -> JobView {
    let phase = match status.phase {
        TransferPhase::Waiting => "waiting",
        TransferPhase::Copying => "copying",
        TransferPhase::Closing => "closing",
        TransferPhase::Done => "done",
        TransferPhase::Kept => "kept",
    };
    JobView {
        id: format!("{}-{:x}", number(id.at), id.number),
        subject,
        phase: phase.to_owned(),
        bytes_total: status.bytes_total,
        bytes_done: status.bytes_done,
        pause_micros: status.pause_micros,
        ended: status.outcome.is_some(),
        succeeded: status.phase == TransferPhase::Done,
        outcome: status.outcome,
    }
}

/// Time to carry a token to the next room, and not to the next week.
const INVITATION_LIFE: Duration = Duration::from_secs(24 * 3600);
