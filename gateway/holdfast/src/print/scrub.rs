//! Tables about scrubs.

use admin::{ScrubEnd, ScrubView};
use indicatif::{ProgressBar, ProgressStyle};

use super::{bytes, table};

/// Scrubs, a line for each appliance, and below them the files of which no copy is whole.
pub fn scrubs(all: &[ScrubView]) -> String {
    let rows = all.iter().map(|view| {
        let found = &view.found;
        let known = view.state != "unreachable";
        let number = |number: u64| if known { number.to_string() } else { "-".to_owned() };
        vec![
            view.appliance.clone(),
            view.state.clone(),
            view.volume.clone().unwrap_or_else(|| "all".to_owned()),
            if known { progress(view) } else { "-".to_owned() },
            bytes(found.bytes),
            number(found.errors),
            number(found.mended),
            loud(found.damaged.max(view.damaged_files)),
            number(found.skipped),
            view.last.as_ref().map_or_else(|| "never".to_owned(), last),
            view.next.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    });
    let header = [
        "APPLIANCE",
        "STATE",
        "VOLUME",
        "FILES",
        "READ",
        "BAD",
        "MENDED",
        "DAMAGED",
        "SKIPPED",
        "LAST",
        "NEXT",
    ];
    let mut out = table(&header, rows.collect());
    let damaged = || all.iter().flat_map(|view| view.damaged.iter().map(move |file| (view, file)));
    if damaged().next().is_some() {
        let rows = damaged().map(|(view, file)| {
            let object = file.object.to_string();
            vec![file.path.clone(), object, file.offset.to_string(), view.appliance.clone()]
        });
        out.push('\n');
        out.push_str(&table(&["DAMAGED", "OBJECT", "FROM BYTE", "AT"], rows.collect()));
    }
    out
}

/// A progress bar for all appliances together.
pub fn scrub_progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} files, {msg}");
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// Moves it on.
pub fn scrub_step(bar: &ProgressBar, all: &[ScrubView]) {
    let sum = |of: fn(&ScrubView) -> u64| all.iter().map(of).sum::<u64>();
    bar.set_length(sum(|view| view.files_total.max(view.found.files)));
    bar.set_position(sum(|view| view.found.files));
    let (read, bad) = (bytes(sum(|view| view.found.bytes)), sum(|view| view.found.errors));
    let mending = sum(|view| view.mending);
    bar.set_message(format!("{read} read, {bad} bad, {mending} being mended"));
}

fn progress(view: &ScrubView) -> String {
    format!("{} of {}", view.found.files, view.files_total.max(view.found.files))
}

fn last(last: &ScrubEnd) -> String {
    let outcome = match last.outcome.as_str() {
        "damaged" => "DAMAGED",
        other => other,
    };
    format!("{outcome}, {}", last.at)
}

/// What somebody must look at.
fn loud(count: u64) -> String {
    if count > 0 { format!("{count} !") } else { "0".to_owned() }
}

#[cfg(test)]
mod tests {
    use admin::{DamageView, ScrubFound};

    use super::*;

    #[test]
    fn each_appliance_has_a_line_and_each_damaged_file_is_named() {
        let found = ScrubFound { files: 3, bytes: 4096, errors: 2, ..ScrubFound::default() };
        let damaged = vec![DamageView {
            volume: "media".to_owned(),
            object: 7,
            path: "media/film".to_owned(),
            offset: 1 << 20,
        }];
        let at = "2026-01-31T23:59:59Z".to_owned();
        let end = ScrubEnd { at, volume: None, outcome: "damaged".to_owned(), found };
        let ada = ScrubView {
            appliance: "ada".to_owned(),
            state: "idle".to_owned(),
            found,
            files_total: 5,
            last: Some(end),
            damaged_files: 1,
            damaged,
            ..ScrubView::default()
        };
        let bob = ScrubView {
            appliance: "bob".to_owned(),
            state: "unreachable".to_owned(),
            ..ScrubView::default()
        };
        let said = scrubs(&[ada, bob]);
        for part in ["ada", "3 of 5", "DAMAGED, 2026-01-31", "1 !", "bob", "unreachable"] {
            assert!(said.contains(part), "{part}: {said}");
        }
        assert!(said.contains("media/film") && said.contains("1048576"), "{said}");
    }
}
