//! The commands about volumes.

use std::process::ExitCode;

use admin::{
    CheckView, CreateVolume, DeletedVolumeView, Undelete, VolumeMembers, VolumePolicy, VolumeView,
};
use clap::Subcommand;

use super::{Show, escaped};
use crate::client::{Client, Method};
use crate::print;

#[derive(Subcommand)]
pub enum VolumeVerb {
    /// Make a volume; nobody may mount it until `export set`
    Create {
        /// Its name: clients mount /NAME
        name: String,
        /// Owner of its root directory
        #[arg(long, default_value_t = 0)]
        root_uid: u32,
        /// Group of its root directory
        #[arg(long, default_value_t = 0)]
        root_gid: u32,
        /// Mode of its root directory, octal
        #[arg(long, default_value = "0755", value_parser = octal)]
        root_mode: u32,
        /// Appliances that shall hold it, up to three [default: placement chooses]
        #[arg(long, value_delimiter = ',', value_name = "NAMES")]
        on: Vec<String>,
        /// Copies of each file, 1 to 3 [default: 1]
        #[arg(long, value_name = "N")]
        replicas: Option<u8>,
        /// `all-in-sync`: what is committed is durable at every good copy; `local`: at one, and a
        /// take-over may lose the rest [default: all-in-sync]
        #[arg(long, value_name = "HOW")]
        durability: Option<String>,
    },
    /// Say how a volume's files are kept; copies are made or given up by and by
    Policy {
        /// Its name
        name: String,
        /// Copies of each file, 1 to 3
        #[arg(long, value_name = "N")]
        replicas: Option<u8>,
        /// `all-in-sync` or `local`
        #[arg(long, value_name = "HOW")]
        durability: Option<String>,
    },
    /// List all volumes
    List {
        /// Those that were deleted and can be brought back
        #[arg(long)]
        deleted: bool,
    },
    /// Show one volume
    Show {
        /// Its name
        name: String,
    },
    /// Say which appliances shall hold a volume; its files follow
    Members {
        /// Its name
        name: String,
        /// One to three appliances, one of the present ones among them
        #[arg(long, value_delimiter = ',', value_name = "NAMES", required = true)]
        on: Vec<String>,
    },
    /// Delete a volume; `undelete` brings it back within 7 days, then its files go for good
    Delete {
        /// Its name
        name: String,
        /// Yes, nobody uses it any more
        #[arg(long)]
        yes: bool,
    },
    /// Bring a deleted volume back
    Undelete {
        /// The name that it had, or its number
        which: String,
        /// Its name from now on [default: the one that it had]
        #[arg(long = "as", value_name = "NAME")]
        name: Option<String>,
    },
    /// Delete the files of a deleted volume now, for good
    Purge {
        /// The name that it had, or its number
        which: String,
        /// Yes, all its files, for good
        #[arg(long)]
        yes: bool,
    },
    /// Walk a volume and name everything that does not fit together
    Check {
        /// Its name
        name: String,
    },
}

pub fn volume(client: &Client, show: Show, verb: VolumeVerb) -> Result<ExitCode, String> {
    match verb {
        VolumeVerb::Create { name, root_uid, root_gid, root_mode, on, replicas, durability } => {
            let policy = VolumePolicy { replicas, durability };
            let wanted = CreateVolume { name, root_uid, root_gid, root_mode, on, policy };
            let made: VolumeView = client.send_json("/v1/volumes", &wanted)?;
            show.print(&made, |made| print::volumes(std::slice::from_ref(made)))
        }
        VolumeVerb::List { deleted: true } => {
            let deleted: Vec<DeletedVolumeView> = client.ask(Method::Get, "/v1/deleted-volumes")?;
            show.print(&deleted, |deleted| print::deleted(deleted))
        }
        VolumeVerb::List { deleted: false } => {
            let volumes: Vec<VolumeView> = client.ask(Method::Get, "/v1/volumes")?;
            show.print(&volumes, |volumes| print::volumes(volumes))
        }
        VolumeVerb::Show { name } => {
            let path = format!("/v1/volumes/{}", escaped(&name));
            let volume: VolumeView = client.ask(Method::Get, &path)?;
            show.print(&volume, print::volume)
        }
        VolumeVerb::Members { name, on } => {
            let path = format!("/v1/volumes/{}/members", escaped(&name));
            let volume: VolumeView = client.send_json(&path, &VolumeMembers { on })?;
            show.print(&volume, print::volume)
        }
        VolumeVerb::Policy { name, replicas, durability } => {
            let path = format!("/v1/volumes/{}/policy", escaped(&name));
            let wanted = VolumePolicy { replicas, durability };
            let volume: VolumeView = client.send_json(&path, &wanted)?;
            show.print(&volume, print::volume)
        }
        VolumeVerb::Delete { name, yes: false } => Err(format!(
            "volume {name:?} was not deleted: its clients would get stale handles. \
             Say --yes if that is what you want; it can be undone for 7 days"
        )),
        VolumeVerb::Delete { name, yes: true } => {
            let path = format!("/v1/volumes/{}", escaped(&name));
            let deleted: DeletedVolumeView = client.ask(Method::Delete, &path)?;
            show.print(&deleted, print::volume_deleted)
        }
        VolumeVerb::Undelete { which, name } => {
            let path = format!("/v1/deleted-volumes/{}/undelete", escaped(&which));
            let volume: VolumeView = client.send_json(&path, &Undelete { name })?;
            show.print(&volume, print::volume)
        }
        VolumeVerb::Purge { which, yes: false } => Err(format!(
            "deleted volume {which:?} was not purged: all its files would be gone for good. \
             Say --yes if that is what you want"
        )),
        VolumeVerb::Purge { which, yes: true } => {
            client.tell(Method::Delete, &format!("/v1/deleted-volumes/{}", escaped(&which)))?;
            let purged = serde_json::json!({ "purged": which });
            show.print(&purged, |_| format!("{which} is gone for good\n"))
        }
        VolumeVerb::Check { name } => {
            let path = format!("/v1/volumes/{}/check", escaped(&name));
            let check: CheckView = client.ask(Method::Post, &path)?;
            let clean = check.clean;
            show.print(&check, print::check)?;
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o7777)
        .ok_or_else(|| format!("{text:?} is no mode: write it in octal, such as 0755"))
}
