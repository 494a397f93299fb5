//! The commands about what an appliance boots from.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use admin::{ImageChange, ImageView, SIGNATURE_HEADER, SlotView};
use clap::Subcommand;

use super::Show;
use super::fleet::wait_a_moment;
use crate::client::{Client, Method};
use crate::print;

#[derive(Subcommand)]
pub enum ImageVerb {
    /// Show the boot files, and which of them runs
    Status,
    /// Restart the appliance from another image; it goes back by itself if that is not well
    Update {
        /// The image; its minisign signature is beside it, in FILE.minisig
        file: PathBuf,
        /// Wait until it runs and was kept; fails if it went back
        #[arg(long)]
        wait: bool,
    },
    /// Restart the appliance from the image before
    Rollback {
        /// Wait until it runs and was kept; fails if it went back
        #[arg(long)]
        wait: bool,
    },
}

pub fn image(client: &Client, show: Show, verb: ImageVerb) -> Result<ExitCode, String> {
    let (change, wait) = match verb {
        ImageVerb::Status => {
            let view: ImageView = client.ask(Method::Get, PATH)?;
            return show.print(&view, print::image);
        }
        ImageVerb::Update { file, wait } => (update(client, &file)?, wait),
        ImageVerb::Rollback { wait } => (client.ask(Method::Post, "/v1/image/rollback")?, wait),
    };
    match wait && change.restarts {
        true => wait_for(client, show, &change),
        false => show.print(&change, print::image_change),
    }
}

fn update(client: &Client, file: &Path) -> Result<ImageChange, String> {
    let read = |path: &Path| fs::read(path).map_err(|e| format!("{}: {e}", path.display()));
    let mut beside = file.as_os_str().to_owned();
    beside.push(".minisig");
    let signature: String = read(Path::new(&beside))?.iter().map(|b| format!("{b:02x}")).collect();
    if signature.len() > SIGNATURE_CHARS_MAX {
        return Err(format!("{}: this is no minisign signature", Path::new(&beside).display()));
    }
    client.send_bytes(PATH, (SIGNATURE_HEADER, signature), read(file)?)
}

/// Waits until the appliance is back, and says what it came back with.
fn wait_for(client: &Client, show: Show, change: &ImageChange) -> Result<ExitCode, String> {
    let bar = match show.json {
        true => indicatif::ProgressBar::hidden(),
        false => print::waiting(),
    };
    let number = |file: &str| file.get(..NUMBER_END).map(str::to_owned);
    let is_it = |slot: &&SlotView| number(&slot.file) == number(&change.file);
    while bar.elapsed() < WAIT {
        wait_a_moment(LOOK);
        // It does not answer while it restarts.
        let Some(view) = client.ask_if_there::<ImageView>(PATH)? else {
            bar.set_message("the appliance restarts");
            continue;
        };
        let slot = view.slots.iter().find(is_it);
        let state = slot.map_or("failed", |slot| slot.state.as_str());
        let running = slot.is_some_and(|slot| slot.running);
        match (state, running) {
            ("kept", true) => {
                bar.finish_and_clear();
                return show.print(&view, print::image);
            }
            ("failed", _) => {
                bar.finish_and_clear();
                show.print(&view, print::image)?;
                return Err(format!("{} was not well: the appliance went back", change.file));
            }
            (_, true) => bar.set_message("it runs, and has to prove itself"),
            (_, false) => bar.set_message("the appliance stops"),
        }
    }
    bar.finish_and_clear();
    Err(format!("{} was not kept in time: look at the appliance's console", change.file))
}

const PATH: &str = "/v1/image";
/// Four lines, in hex.
const SIGNATURE_CHARS_MAX: usize = 8192;
/// `holdfast-` and eight digits.
const NUMBER_END: usize = 17;
const LOOK: Duration = Duration::from_secs(2);
/// Stopping, booting, proving, and the same again if it goes back.
const WAIT: Duration = Duration::from_secs(30 * 60);
