//! What an export's rules say to a caller.

use model::{ExportAccess, ExportRule, Identity, Squash, VolumeInfo};

use crate::Caller;

/// What the first matching rule grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// The rule.
    pub rule: &'a ExportRule,
    /// Whether changes are refused.
    pub read_only: bool,
}

/// The first rule of `volume` that matches the caller; `None` if there is none, or if it wants a
/// privileged source port and the caller's is not.
pub fn verdict<'a>(volume: &'a VolumeInfo, caller: &Caller) -> Option<Verdict<'a>> {
    let rule = volume.exports.iter().find(|rule| rule.client.matches(caller.client))?;
    if !rule.insecure && !caller.privileged_port {
        return None;
    }
    Some(Verdict { rule, read_only: rule.access == ExportAccess::ReadOnly })
}

/// The path clients mount `volume` at.
pub fn export_path(volume: &VolumeInfo) -> String {
    format!("/{}", volume.name)
}

/// Whom a request runs as; `None` if it names nobody (AUTH_NONE) and the rule does not make
/// everybody anonymous.
pub(crate) fn squashed(rule: &ExportRule, caller: &Caller) -> Option<Identity> {
    let anonymous = || Identity { uid: rule.anonuid, gid: rule.anongid, gids: Box::new([]) };
    match (&caller.credential, rule.squash) {
        (_, Squash::All) => Some(anonymous()),
        (None, Squash::Root | Squash::None) => None,
        (Some(credential), Squash::Root) if credential.uid == 0 => Some(anonymous()),
        (Some(credential), Squash::Root) => {
            // A user in group 0 keeps no power of the superuser's group either.
            let gid = |gid: u32| if gid == 0 { rule.anongid } else { gid };
            Some(Identity {
                uid: credential.uid,
                gid: gid(credential.gid),
                gids: credential.gids.iter().copied().map(gid).collect(),
            })
        }
        (Some(credential), Squash::None) => Some(Identity {
            uid: credential.uid,
            gid: credential.gid,
            gids: credential.gids.clone(),
        }),
    }
}

#[cfg(test)]
mod tests;
