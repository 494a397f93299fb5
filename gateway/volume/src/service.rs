//! The way in: from a handle and a caller to an object somebody may ask about, and the rules that
//! are the same for every door.

use std::sync::Arc;

use model::permission::{self, Access, Subject};
use model::{Attributes, BadName, Identity, Name, ObjectId, ObjectKind, Refusal, VolumeInfo};

use crate::export::squashed;
use crate::ports::LookUpName;
use crate::{Ask, Caller, Found, Groups, Handle, HandleKey, Ports, Refused, verdict};

/// A door's view of the fleet: ports behind handles and exports.
pub struct Service<P> {
    ports: Arc<P>,
    key: HandleKey,
    groups: Arc<dyn Groups>,
}

/// An object that the caller may ask about.
#[derive(Clone, Debug)]
pub struct Target {
    /// For whom and where.
    pub ask: Ask,
    /// Which object.
    pub object: ObjectId,
}

/// Why a caller does not get as far as an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// Answer with this.
    Refusal(Refusal),
    /// Refuse the credential itself (RFC 5531 AUTH_TOOWEAK): the export wants to know who asks.
    TooWeak,
}

/// What ACCESS may be asked and may grant (RFC 1813 section 3.3.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessBits(pub u32);

impl AccessBits {
    /// Read data, or list a directory.
    pub const READ: u32 = 0x01;
    /// Look names up in a directory.
    pub const LOOKUP: u32 = 0x02;
    /// Rewrite data, or change entries.
    pub const MODIFY: u32 = 0x04;
    /// Write new data, or add entries.
    pub const EXTEND: u32 = 0x08;
    /// Take entries out of a directory.
    pub const DELETE: u32 = 0x10;
    /// Run a file.
    pub const EXECUTE: u32 = 0x20;
}

impl<P: Ports> Service<P> {
    /// A service over `ports`, giving out handles sealed with `key`.
    pub fn new(ports: Arc<P>, key: HandleKey, groups: Arc<dyn Groups>) -> Self {
        Self { ports, key, groups }
    }

    /// Where requests go once they are resolved.
    pub fn ports(&self) -> &P {
        &self.ports
    }

    /// The bytes a client gets for an object.
    pub fn seal(&self, ask: &Ask, object: ObjectId) -> [u8; crate::HANDLE_BYTES] {
        Handle { volume: ask.volume, object }.seal(&self.key)
    }

    /// Finds out what a handle means and whether this caller may use it.
    ///
    /// # Errors
    /// [`Denied`]: BADHANDLE for bytes that are no handle of ours, STALE for a volume that is gone,
    /// ACCES if no rule of the export lets the client in.
    pub async fn resolve(&self, caller: &Caller, handle: &[u8]) -> Result<Target, Denied> {
        let handle =
            Handle::parse(handle, &self.key).map_err(|_| Denied::Refusal(Refusal::BadHandle))?;
        let volumes = self.ports.volumes();
        let volume = volumes
            .iter()
            .find(|volume| volume.id == handle.volume)
            .ok_or(Denied::Refusal(Refusal::Stale))?;
        let ask = self.admit(caller, volume).await?;
        Ok(Target { ask, object: handle.object })
    }

    /// Mounts `path`: an export, or a directory below one.
    ///
    /// # Errors
    /// [`Denied`]: NOENT if no volume or directory is there, ACCES if the client may not mount it,
    /// NOTDIR if it is no directory.
    pub async fn mount(&self, caller: &Caller, path: &[u8]) -> Result<Target, Denied> {
        let mut parts = path.split(|b| *b == b'/').filter(|part| !part.is_empty());
        let name = parts.next().ok_or(Denied::Refusal(Refusal::NotFound))?;
        let volumes = self.ports.volumes();
        let volume = volumes
            .iter()
            .find(|volume| volume.name.as_bytes() == name)
            .ok_or(Denied::Refusal(Refusal::NotFound))?;
        let ask = self.admit(caller, volume).await?;
        // The walk is the appliance's own: MNT carries no right to look names up.
        let walk = Ask { identity: Identity::root(), ..ask.clone() };
        let mut object = ObjectId::ROOT;
        let mut kind = ObjectKind::Directory;
        for part in parts {
            let found = self.look_up(&walk, object, part).await.map_err(denied)?;
            object = found.object;
            kind = match found.attributes {
                Some(attributes) => attributes.kind,
                None => self.ports.attributes(&walk, object).await.map_err(denied)?.kind,
            };
        }
        match kind {
            ObjectKind::Directory => Ok(Target { ask, object }),
            _ => Err(Denied::Refusal(Refusal::NotDirectory)),
        }
    }

    /// LOOKUP by the bytes a client sent: `.` and `..` mean what they mean everywhere.
    ///
    /// # Errors
    /// As [`Ports::look_up`]; NAMETOOLONG and INVAL for what is no name.
    pub async fn look_up(&self, ask: &Ask, dir: ObjectId, name: &[u8]) -> Result<Found, Refused> {
        match Name::parse(name) {
            Ok(name) => self.ports.look_up(ask, dir, LookUpName::Name(&name)).await,
            Err(BadName::Dot) => self.ports.look_up(ask, dir, LookUpName::Dot).await,
            Err(BadName::DotDot) => self.ports.look_up(ask, dir, LookUpName::DotDot).await,
            Err(bad @ (BadName::TooLong | BadName::Invalid)) => {
                Err(refusal_of_name(bad, NameUse::Create).into())
            }
        }
    }

    async fn admit(&self, caller: &Caller, volume: &VolumeInfo) -> Result<Ask, Denied> {
        let granted = verdict(volume, caller).ok_or(Denied::Refusal(Refusal::Access))?;
        let mut identity = squashed(granted.rule, caller).ok_or(Denied::TooWeak)?;
        if granted.rule.manage_gids
            && !identity.is_root()
            && identity.uid != granted.rule.anonuid
            && let Some(groups) = self.groups.groups_of(identity.uid).await
        {
            identity.gids = groups.iter().copied().collect();
        }
        let (volume, read_only) = (volume.id, granted.read_only);
        let line = caller.line.clone();
        Ok(Ask { volume, identity, key: caller.key, read_only, view: None, line })
    }
}

/// Which of the `asked` ACCESS bits `ask` has on an object. Bits that do not go with the kind of
/// object are never granted.
pub fn access_granted(ask: &Ask, attributes: &Attributes, asked: AccessBits) -> AccessBits {
    let may = |access| permission::permits(Subject::from(attributes), &ask.identity, access);
    let mut granted = 0;
    if may(Access::Read) {
        granted |= AccessBits::READ;
    }
    let directory = attributes.kind == ObjectKind::Directory;
    // A device or pipe is written on the client, whatever the export says of our disk.
    let data = directory || attributes.kind == ObjectKind::File;
    if may(Access::Write) && !(ask.read_only && data) {
        granted |= AccessBits::MODIFY | AccessBits::EXTEND;
        if directory {
            granted |= AccessBits::DELETE;
        }
    }
    if may(Access::Execute) {
        granted |= if directory { AccessBits::LOOKUP } else { AccessBits::EXECUTE };
    }
    AccessBits(granted & asked.0)
}

/// What a name that is none is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameUse {
    /// A new name: CREATE, MKDIR, SYMLINK, MKNOD, LINK, LOOKUP.
    Create,
    /// A file's name to take: REMOVE.
    Remove,
    /// A directory's name to take: RMDIR.
    RemoveDirectory,
    /// Either name of a RENAME.
    Rename,
}

/// The refusal that goes with a bad name (RFC 1813 sections 3.3.8 to 3.3.15).
pub fn refusal_of_name(bad: BadName, used: NameUse) -> Refusal {
    match (bad, used) {
        (BadName::TooLong, _) => Refusal::NameTooLong,
        (BadName::Invalid, _) => Refusal::Invalid,
        (BadName::Dot | BadName::DotDot, NameUse::Create) => Refusal::Exists,
        (BadName::Dot | BadName::DotDot, NameUse::Remove) => Refusal::IsDirectory,
        (BadName::Dot, NameUse::RemoveDirectory) => Refusal::Invalid,
        (BadName::DotDot, NameUse::RemoveDirectory) => Refusal::Exists,
        (BadName::Dot | BadName::DotDot, NameUse::Rename) => Refusal::Invalid,
    }
}

/// The verifier of a directory's cookies. They stay good for ever, so it says only which directory
/// they are of: a cookie carried to another one is noticed.
pub fn cookie_verifier(dir: ObjectId) -> [u8; 8] {
    (dir.get() ^ COOKIE_VERIFIER_SALT).to_be_bytes()
}

fn denied(refused: Refused) -> Denied {
    Denied::Refusal(refused.refusal)
}

/// Keeps the verifier from being 0, which stands for "no verifier yet".
const COOKIE_VERIFIER_SALT: u64 = 0x686f_6c64_6661_7374;

#[cfg(test)]
mod tests;
