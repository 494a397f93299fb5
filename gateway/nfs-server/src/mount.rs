//! The MOUNT protocol (RFC 1813 appendix I): from a path to the handle of a directory.
//!
//! Absent on purpose: state that a client depends on. A handle is good whether or not we remember
//! having given it out.

use model::{Refusal, Squash};
use nfs_wire::mount::{Args, DIRPATH_BYTES_MAX, ExportEntry, MntOk, Mountstat3, Reply};
use nfs_wire::nfs3::{Name, Path};
use nfs_wire::rpc::AuthFlavor;
use tracing::{debug, info};
use volume::{Denied, Ports, Target, export_path, verdict};

use crate::door::Door;
use crate::mounts::Mounts;
use crate::status::mount_status;

impl<P: Ports> Door<'_, P> {
    pub(crate) async fn mount_call(&self, mounts: &Mounts, args: Args) -> Reply {
        let client = self.caller.client;
        match args {
            Args::Null => Reply::Null,
            Args::Mnt(path) => Reply::Mnt(self.mnt(mounts, &path).await),
            Args::Dump => Reply::Dump(mounts.entries()),
            Args::Umnt(path) => {
                mounts.unmounted(client, &path);
                Reply::Umnt
            }
            Args::Umntall => {
                mounts.unmounted_all(client);
                Reply::Umntall
            }
            Args::Export => Reply::Export(self.exports()),
        }
    }

    async fn mnt(&self, mounts: &Mounts, path: &[u8]) -> Result<MntOk, Mountstat3> {
        let shown = String::from_utf8_lossy(path);
        match self.mountable(path).await {
            Ok(target) => {
                info!(client = %self.caller.client, path = %shown, "mounted");
                mounts.mounted(self.caller.client, path);
                let handle = self.handle(&target.ask, target.object);
                Ok(MntOk { handle, flavors: self.flavors(&target) })
            }
            Err(refusal) => {
                debug!(client = %self.caller.client, path = %shown, %refusal, "mount refused");
                Err(mount_status(refusal))
            }
        }
    }

    async fn mountable(&self, path: &[u8]) -> Result<Target, Refusal> {
        if path.len() > DIRPATH_BYTES_MAX {
            return Err(Refusal::NameTooLong);
        }
        self.service.mount(self.caller, path).await.map_err(|denied| match denied {
            Denied::Refusal(refusal) => refusal,
            Denied::TooWeak => Refusal::Access,
        })
    }

    /// What the export takes: nobody in particular only where everybody is anonymous.
    fn flavors(&self, target: &Target) -> Vec<AuthFlavor> {
        let volumes = self.ports().volumes();
        let volume = volumes.iter().find(|volume| volume.id == target.ask.volume);
        let squash =
            volume.and_then(|volume| verdict(volume, self.caller)).map(|found| found.rule.squash);
        match squash {
            Some(Squash::All) => vec![AuthFlavor::SYS, AuthFlavor::NONE],
            Some(Squash::Root | Squash::None) | None => vec![AuthFlavor::SYS],
        }
    }

    /// Volumes that somebody may mount. No group would mean everybody, so one without a rule is
    /// left out.
    fn exports(&self) -> Vec<ExportEntry> {
        let volumes = self.ports().volumes();
        let exported = volumes.iter().filter(|volume| !volume.exports.is_empty());
        exported
            .map(|volume| ExportEntry {
                directory: Path(export_path(volume).into()),
                groups: volume
                    .exports
                    .iter()
                    .map(|rule| Name(rule.client.to_string().into()))
                    .collect(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests;
