//! The appliance's part in a fleet: the mesh it talks through, and the way in.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use catalog::FjallStore;
use mesh::{
    Congestion, Credentials, FleetAuthority, FrameVersions, Invitation, Parts, QuicMesh, Settings,
};
use model::{Clock, Entropy};
use nfs_server::Closer;
use ownership::{Authority, FleetCommand, MemberKind};
use router::{Answering, Certifier, Clients, JoinReply, JoinRequest, Router};

use crate::adapters::MeshCertifier;
use crate::config::Config;
use crate::serve::Opened;

/// The NFS door's connections.
pub struct NfsClients(pub Closer);

impl Clients for NfsClients {
    fn close_all(&self) {
        self.0.close_all();
    }

    fn close_at(&self, address: IpAddr) {
        self.0.close_at(address);
    }
}

/// Starts the mesh as soon as this appliance is of a fleet of several, and renews its certificate.
pub async fn keep_mesh(
    listen: SocketAddr,
    opened: Arc<Opened>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) {
    let certifier = MeshCertifier { clock: clock.clone(), entropy: entropy.clone() };
    let mut running: Option<Arc<QuicMesh>> = None;
    loop {
        let wait = match (&running, credentials(&opened, &certifier)) {
            (Some(mesh), Some(credentials)) => {
                if let Err(bad) = mesh.set_credentials(&credentials) {
                    tracing::error!(%bad, "the certificate can't be renewed");
                }
                RENEW_EVERY
            }
            (None, Some(credentials)) => {
                let parts = Parts { credentials, clock: clock.clone(), entropy: entropy.clone() };
                let started = start_mesh(listen, parts, &opened);
                match started {
                    Ok(mesh) => {
                        running = Some(mesh);
                        RENEW_EVERY
                    }
                    Err(why) => {
                        tracing::error!(%listen, why, "other appliances can't be talked to");
                        BIND_AGAIN_AFTER
                    }
                }
            }
            (_, None) => LOOK_AGAIN_AFTER,
        };
        tokio::time::sleep(wait).await;
    }
}

/// New ones from the fleet's authority, once that is known here; before, those of the admission.
fn credentials(opened: &Opened, certifier: &MeshCertifier) -> Option<Credentials> {
    let fleet = opened.router.fleet_now();
    let bytes = match (fleet.authority(), &opened.joined) {
        (Some(authority), _) => certifier.issue(&authority.0, opened.appliance).ok()?,
        (None, Some(admission)) => admission.credentials.clone(),
        (None, None) => return None,
    };
    let credentials = Credentials::from_bytes(&bytes);
    credentials.inspect_err(|bad| tracing::error!(%bad, "a certificate can't be used")).ok()
}

fn start_mesh(
    listen: SocketAddr,
    parts: Parts,
    opened: &Arc<Opened>,
) -> Result<Arc<QuicMesh>, String> {
    let settings = Settings {
        listen,
        program: env!("CARGO_PKG_VERSION").to_owned(),
        versions: FrameVersions::OURS,
        congestion: Congestion::default(),
    };
    let mesh = Arc::new(QuicMesh::bind(settings, parts).map_err(|e| e.to_string())?);
    mesh.serve(Arc::new(Answering(opened.router.clone())));
    opened.router.attach_mesh(mesh.clone());
    tracing::info!(%listen, "other appliances are talked to");
    Ok(mesh)
}

/// What seals handles; waits until the fleet's state is known here.
pub async fn secret(router: &Router<FjallStore>) -> [u8; 32] {
    loop {
        if let Some(secret) = router.secret() {
            return secret;
        }
        tokio::time::sleep(LOOK_AGAIN_AFTER).await;
    }
}

/// Asks the fleet that `invitation` names, at `address`, to admit this appliance; on success the
/// next start joins it.
///
/// # Errors
/// A sentence for the operator: nothing has changed here.
pub async fn join(
    opened: &Opened,
    config: &Config,
    clock: Arc<dyn Clock>,
    invitation: &Invitation,
    (address, wait): (SocketAddr, Duration),
    kind: MemberKind,
) -> Result<(), String> {
    let fleet = opened.router.fleet_now();
    if fleet.members().len() > 1 || opened.joined.is_some() {
        return Err("this appliance is of a fleet already".to_owned());
    }
    if let Some(volume) = fleet.volumes().first() {
        return Err(format!(
            "this appliance has volume {:?}: only one without volumes may join a fleet",
            volume.name
        ));
    }
    let request = JoinRequest {
        secret: invitation.secret(),
        appliance: opened.appliance,
        name: config.name.clone(),
        addresses: config.mesh.addresses()?,
        labels: ownership::Labels(config.labels.clone()),
        kind,
    };
    let bytes = router::encode(&request);
    let reply = mesh::join(address, invitation.fleet(), bytes, clock, wait).await;
    let reply = reply.map_err(|fault| format!("{address}: {fault}"))?;
    match router::decode(&reply) {
        Ok(JoinReply::Admitted(admission)) => opened
            .root
            .set_joining(&admission)
            .map_err(|e| format!("admitted, but that could not be noted: {e}; empty this root")),
        Ok(JoinReply::Refused(why)) => Err(why),
        Err(_) => Err(format!("{address}: its answer can't be read")),
    }
}

/// How an appliance stands to the fleet that its configuration names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// It is of its fleet, or the configuration names none.
    Here,
    /// It was admitted: it joins with its next start.
    Admitted,
}

/// Founds or joins the fleet that the configuration names, if this appliance is of none yet; asks
/// until somebody answers.
///
/// # Errors
/// A sentence for the operator: this appliance can be of no fleet.
pub async fn find_together(
    opened: &Opened,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Together, String> {
    let Some(token) = config.fleet.token()? else { return Ok(Together::Here) };
    let fleet = opened.router.fleet_now();
    if opened.joined.is_some() || fleet.authority().is_some() {
        return Ok(Together::Here);
    }
    let invitation = token.invitation(opened.appliance);
    let mut round = 0_u32;
    loop {
        for address in config.fleet.peers()? {
            let (clock, at) = (clock.clone(), (address, ASK_WAIT));
            match join(opened, config, clock, &invitation, at, MemberKind::Full).await {
                Ok(()) => return Ok(Together::Admitted),
                // Seldom: it may go on for hours.
                Err(why) if round.is_power_of_two() => tracing::warn!(why, "not of a fleet yet"),
                Err(why) => tracing::debug!(why, "not of a fleet yet"),
            }
        }
        round += 1;
        // Who founded it, and lost its disk, is to come back to what is there.
        if config.fleet.found && (config.fleet.join.is_empty() || round >= FOUNDER_ASKS) {
            let authority = Authority(token.authority().to_bytes());
            let founded = opened.router.command(FleetCommand::SetAuthority { authority }).await;
            founded.map_err(|refusal| format!("the fleet can't be founded: {refusal}"))?;
            tracing::info!("founded the fleet that the configuration names");
            return Ok(Together::Here);
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
    }
}

/// A new authority, as the fleet keeps it.
pub fn new_authority(entropy: &dyn Entropy, clock: &dyn Clock) -> Vec<u8> {
    FleetAuthority::found(entropy, clock.wall()).to_bytes()
}

/// A new invitation to the fleet with this authority.
///
/// # Errors
/// If the authority can't be read.
pub fn new_invitation(authority: &[u8], entropy: &dyn Entropy) -> Result<Invitation, String> {
    let authority = FleetAuthority::from_bytes(authority).map_err(|e| e.to_string())?;
    Ok(Invitation::new(authority.fingerprint(), entropy))
}

/// Certificates are good for a month.
const RENEW_EVERY: Duration = Duration::from_secs(24 * 3600);
const BIND_AGAIN_AFTER: Duration = Duration::from_secs(2);
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// What an operator waits for an answer.
pub const JOIN_WAIT: Duration = Duration::from_secs(15);
/// For one of several; who was admitted and did not hear of it is told when it asks again.
const ASK_WAIT: Duration = Duration::from_secs(3);
/// Rounds in which the founder of a fleet asks whether there is one already.
const FOUNDER_ASKS: u32 = 3;
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(1);
