//! The commands about single files.

use std::process::ExitCode;

use admin::{ExplainView, FaultView, LedgerView, PinWanted, Transfer, WhereView};
use clap::Subcommand;

use super::fleet::{self, Wait};
use super::{Show, escaped};
use crate::client::{Client, Method};
use crate::print;

#[derive(Subcommand)]
pub enum ObjectVerb {
    /// List objects whose copy is stale: writes to them answer an I/O error
    Faults {
        /// Of this volume only
        volume: Option<String>,
    },
    /// Move a file to another appliance
    Transfer {
        /// VOLUME/PATH
        path: String,
        /// The appliance, by name
        to: String,
        /// Wait until it is there
        #[arg(long)]
        wait: bool,
    },
    /// Keep a file at one appliance, wherever it is used; it moves there by itself
    Pin {
        /// VOLUME/PATH
        path: String,
        /// The appliance, by name
        to: String,
    },
    /// Let a file be where it is used
    Unpin {
        /// VOLUME/PATH
        path: String,
    },
    /// Show who owns a file and who has copies
    Whereis {
        /// VOLUME/PATH
        path: String,
    },
    /// Show why a file stays where it is, or moves: its owner's arithmetic
    Explain {
        /// VOLUME/PATH
        path: String,
    },
    /// Show how a file came to its owner
    History {
        /// VOLUME/PATH
        path: String,
    },
    /// Take an object's copy for good again, after looking at it
    Clear {
        /// Its volume
        volume: String,
        /// Its number
        object: u64,
    },
}

pub fn object(client: &Client, show: Show, verb: ObjectVerb) -> Result<ExitCode, String> {
    match verb {
        ObjectVerb::Faults { volume } => {
            let query = volume.map(|name| format!("?volume={}", escaped(&name)));
            let path = format!("/v1/faults{}", query.unwrap_or_default());
            let faults: Vec<FaultView> = client.ask(Method::Get, &path)?;
            show.print(&faults, |faults| print::faults(faults))
        }
        ObjectVerb::Transfer { path, to, wait } => {
            let wait = if wait { Wait::Until } else { Wait::No };
            fleet::transfer(client, show, &Transfer { path, to }, wait)
        }
        ObjectVerb::Pin { path, to } => pin(client, show, &PinWanted { path, to: Some(to) }),
        ObjectVerb::Unpin { path } => pin(client, show, &PinWanted { path, to: None }),
        ObjectVerb::Whereis { path } => fleet::whereis(client, show, &path),
        ObjectVerb::Explain { path } => {
            let path = format!("/v1/objects/explain?path={}", escaped(&path));
            let explained: ExplainView = client.ask(Method::Get, &path)?;
            show.print(&explained, print::explain)
        }
        ObjectVerb::History { path } => ledger(client, show, Some(&path)),
        ObjectVerb::Clear { volume, object } => {
            let name = escaped(&volume);
            client.tell(Method::Post, &format!("/v1/volumes/{name}/faults/{object}/clear"))?;
            let cleared = serde_json::json!({ "volume": volume, "cleared": object });
            show.print(&cleared, |_| format!("object {object} of {volume} takes writes again\n"))
        }
    }
}

fn pin(client: &Client, show: Show, wanted: &PinWanted) -> Result<ExitCode, String> {
    let found: WhereView = client.send_json("/v1/objects/pin", wanted)?;
    show.print(&found, print::whereis)
}

pub fn ledger(client: &Client, show: Show, path: Option<&str>) -> Result<ExitCode, String> {
    let query = path.map(|path| format!("?path={}", escaped(path))).unwrap_or_default();
    let ledger: LedgerView = client.ask(Method::Get, &format!("/v1/ledger{query}"))?;
    show.print(&ledger, print::ledger)
}
