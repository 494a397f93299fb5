//! How an appliance gets into a fleet.
//!
//! Invariant: nobody is admitted without an invitation's secret, and each secret admits one,
//! however often that asks. Before a second appliance is entered, the first one's lease has an end.
//! Absent on purpose: the encoding of invitations, and certificates; they are the mesh's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use catalog::Imaging;
use model::{ApplianceId, Timestamp};
use ownership::{FleetCommand, FleetRefusal, InvitationDigest, Labels, MemberKind};
use serde::{Deserialize, Serialize};

use crate::pulse::PulseEvent;
use crate::router::Router;
use crate::wire;

/// What a newcomer sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinRequest {
    /// The invitation's secret.
    pub secret: [u8; mesh::SECRET_BYTES],
    /// Which appliance it is.
    pub appliance: ApplianceId,
    /// What people call it.
    pub name: String,
    /// Where the others reach it.
    pub addresses: Vec<SocketAddr>,
    /// What it says of itself.
    pub labels: Labels,
    /// What it is there for.
    pub kind: MemberKind,
}

/// What a newcomer gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinReply {
    /// It is of the fleet.
    Admitted(Box<Admission>),
    /// It is not: a sentence for the operator.
    Refused(String),
}

/// All that a newcomer needs to find the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admission {
    /// Who founded the fleet's group.
    pub founder: ApplianceId,
    /// The newcomer's certificate and key, as the mesh writes them.
    pub credentials: Vec<u8>,
    /// The others and where they are.
    pub peers: Vec<(ApplianceId, Vec<SocketAddr>)>,
}

/// Issues certificates of the fleet: the binary does it with the mesh's means.
pub trait Certifier: Send + Sync {
    /// Credentials for `appliance`, from the fleet's `authority`; a sentence if that can't be read.
    fn issue(&self, authority: &[u8], appliance: ApplianceId) -> Result<Vec<u8>, String>;
}

/// Issues nothing: for an appliance that stays alone.
pub(crate) struct NoCertificates;

impl Certifier for NoCertificates {
    fn issue(&self, _: &[u8], _: ApplianceId) -> Result<Vec<u8>, String> {
        Err("this appliance issues no certificates".to_owned())
    }
}

impl<S: Imaging> Router<S> {
    /// Answers a newcomer.
    pub(crate) async fn serve_join(self: &Arc<Self>, from: SocketAddr, request: &[u8]) -> Bytes {
        let reply = match wire::decode::<JoinRequest>(request) {
            Ok(request) => {
                let (appliance, name) = (request.appliance, request.name.clone());
                match self.admit(request).await {
                    Ok(admission) => {
                        tracing::info!(%appliance, name, %from, "an appliance joined the fleet");
                        JoinReply::Admitted(Box::new(admission))
                    }
                    Err(why) => {
                        tracing::warn!(%from, why, "a newcomer was refused");
                        JoinReply::Refused(why)
                    }
                }
            }
            Err(_) => JoinReply::Refused("the request to join can't be read".to_owned()),
        };
        wire::encode(&reply)
    }

    async fn admit(self: &Arc<Self>, request: JoinRequest) -> Result<Admission, String> {
        let JoinRequest { secret, appliance, name, addresses, labels, kind } = request;
        let digest = InvitationDigest(mesh::digest_of(&secret));
        let fleet = self.fleet_now();
        // Looked at before anything is done for a stranger; apply decides.
        let open = fleet.invitations().iter().find(|invitation| invitation.digest == digest);
        let token = self.parts.reach.token.as_ref();
        let expected = token.is_some_and(|token| token.invitation(appliance).digest() == digest.0);
        if open.is_none() && !expected {
            return Err(FleetRefusal::UnknownInvitation.to_string());
        }
        let authority = fleet.authority().ok_or("this fleet has no authority yet")?;
        let credentials = self.parts.reach.certifier.issue(&authority.0, appliance)?;
        self.admitting.fetch_add(1, Ordering::AcqRel);
        let _counted = Counted(self.clone());
        let came_with_it = expected || open.is_some_and(|open| open.used_by == Some(appliance));
        // One that is a member and asks again has not got the answer.
        if !(came_with_it && fleet.member(appliance).is_some()) {
            let now = self.parts.clock.wall();
            let usable = open.is_some_and(|open| open.expires > now);
            if expected && !usable {
                let life = u64::try_from(STANDING_LIFE.as_nanos()).unwrap_or(u64::MAX);
                let expires = Timestamp::from_nanos(now.as_nanos().saturating_add(life));
                self.enter_joining(FleetCommand::Invite { digest, expires, kind, now }).await?;
            }
            self.be_accompanied().await?;
            let admit =
                FleetCommand::Admit { digest, appliance, name, addresses, labels, kind, now };
            self.enter_joining(admit).await?;
        }
        let fleet = self.fleet_now();
        let founder = fleet.founder().ok_or("this fleet was never founded")?;
        let others = fleet.members().iter().filter(|member| member.id != appliance);
        let peers = others.map(|member| (member.id, member.addresses.clone())).collect();
        Ok(Admission { founder, credentials, peers })
    }

    async fn enter_joining(self: &Arc<Self>, command: FleetCommand) -> Result<(), String> {
        match self.enter_fleet(command).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(refusal)) => Err(refusal.to_string()),
            Err(refusal) => Err(format!("the fleet could not take it in: {refusal}")),
        }
    }

    /// A fleet of one holds its lease for ever: beats start before the entry that adds a second
    /// member.
    async fn be_accompanied(&self) -> Result<(), String> {
        if !self.lease.is_for_ever() {
            return Ok(());
        }
        self.pulse.tell(PulseEvent::Accompanied);
        for _ in 0..ACCOMPANIED_LOOKS {
            if self.accompanied.load(Ordering::Acquire) {
                return Ok(());
            }
            tokio::time::sleep(ACCOMPANIED_LOOK).await;
        }
        Err("this appliance's own beats are not answered".to_owned())
    }
}

/// One that is being admitted, until it is dropped.
struct Counted<S: Imaging>(Arc<Router<S>>);

impl<S: Imaging> Drop for Counted<S> {
    fn drop(&mut self) {
        self.0.admitting.fetch_sub(1, Ordering::AcqRel);
        self.0.pulse.tell(PulseEvent::Fleet);
    }
}

/// From the entry that invites who has the fleet's token to the one that admits it.
const STANDING_LIFE: Duration = Duration::from_secs(3600);
const ACCOMPANIED_LOOK: Duration = Duration::from_millis(20);
const ACCOMPANIED_LOOKS: usize = 250;
