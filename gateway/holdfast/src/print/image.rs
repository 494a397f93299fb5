//! What an appliance boots from.

use std::time::Duration;

use admin::{ImageChange, ImageView};
use indicatif::{ProgressBar, ProgressStyle};

use super::{bytes, table};

/// Boot files, a line for each.
pub fn image(view: &ImageView) -> String {
    let rows = view.slots.iter().map(|slot| {
        let running = if slot.running { "now" } else { "" };
        vec![slot.file.clone(), bytes(slot.bytes), slot.state.clone(), running.to_owned()]
    });
    let mut out = table(&["BOOT FILE", "SIZE", "STATE", "RUNS"], rows.collect());
    if let Some(why) = &view.refuses {
        out.push_str(&format!("\n{why}\n"));
    }
    out
}

/// What is booted next.
pub fn image_change(change: &ImageChange) -> String {
    let next = match change.restarts {
        true => "the appliance restarts now; `holdfast image status` then says if it was kept",
        false => "restart the machine to boot it",
    };
    format!("{} is booted next: {next}\n", change.file)
}

/// A spinner with what is waited for.
pub fn waiting() -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed} {msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    bar
}

const TICK: Duration = Duration::from_millis(200);
