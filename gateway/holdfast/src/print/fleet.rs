//! Tables about the fleet and about where files are.

use admin::{
    DrainView, ExplainView, FleetView, HeldView, InvitationView, LedgerView, OpenInvitationView,
    RemovalView, TokenView, WhereView,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{duration, state, table};

/// The fleet: what it can lose, and its appliances, a line each.
pub fn fleet(fleet: &FleetView) -> String {
    let rows = fleet.members.iter().map(|member| {
        let labels: Vec<String> =
            member.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let leads = fleet.leader.as_deref() == Some(&member.appliance);
        let role = match (member.votes, leads) {
            (_, true) => "leads",
            (true, false) => "votes",
            (false, false) => "learns",
        };
        vec![
            member.name.clone(),
            member.appliance.clone(),
            if member.up { "up" } else { "DOWN" }.to_owned(),
            role.to_owned(),
            if member.draining {
                format!("{}, draining", member.kind)
            } else {
                member.kind.clone()
            },
            member.addresses.join(", "),
            member.volumes.join(", "),
            labels.join(", "),
        ]
    });
    let header = ["APPLIANCE", "NUMBER", "STATE", "ROLE", "KIND", "ADDRESSES", "VOLUMES", "LABELS"];
    format!("view {}: {}\n\n{}", fleet.view, fleet.tolerates, table(&header, rows.collect()))
}

/// A token and what to do with it, for each address that the inviting appliance has.
pub fn invitation(made: &InvitationView) -> String {
    let InvitationView { token, addresses, good_for_seconds, id } = made;
    let within = duration(*good_for_seconds);
    let mut out = format!("on the new appliance, within {within}, once:\n\n");
    match addresses.as_slice() {
        [] => out.push_str(&format!("    holdfast join {token} ADDRESS:PORT\n")),
        [first, others @ ..] => {
            out.push_str(&format!("    holdfast join {token} {first}\n"));
            for other in others {
                out.push_str(&format!("or  holdfast join {token} {other}\n"));
            }
        }
    }
    out.push_str(&format!("\n`holdfast fleet revoke {id}` takes it back.\n"));
    out
}

/// Invitations, a line each.
pub fn invitations(all: &[OpenInvitationView]) -> String {
    if all.is_empty() {
        return "no invitations\n".to_owned();
    }
    let rows = all.iter().map(|invitation| {
        let state = match (&invitation.used_by, invitation.good_for_seconds) {
            (Some(name), _) => format!("used by {name}"),
            (None, 0) => "expired".to_owned(),
            (None, seconds) => format!("good for {}", duration(seconds)),
        };
        vec![invitation.id.clone(), invitation.kind.clone(), state]
    });
    table(&["INVITATION", "KIND", "STATE"], rows.collect())
}

/// How a drain is going.
pub fn drain(view: &DrainView) -> String {
    let name = &view.name;
    let left = view.files_left;
    let what = match (view.done, view.draining) {
        (true, true) => {
            format!("{name} holds nothing any more: stop it, then `fleet remove {name}`")
        }
        (true, false) => format!("{name} is not draining, and holds nothing"),
        (false, true) => format!("{name} is draining: {left} files left"),
        (false, false) => format!("{name} is not draining; it holds {left} files"),
    };
    format!("{what}\n{}", held(&view.volumes))
}

/// A line that tells how a drain is going.
pub fn drain_progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {msg}, {elapsed}") {
        bar.set_style(style);
    }
    bar
}

/// Says how far a drain is.
pub fn drain_step(bar: &ProgressBar, view: &DrainView) {
    let stuck = view.volumes.iter().find_map(|volume| volume.note.as_deref());
    let files = view.files_left;
    // What is written there meanwhile has to go, too.
    bar.set_length(bar.length().unwrap_or_default().max(files));
    bar.set_position(bar.length().unwrap_or_default().saturating_sub(files));
    let left = format!("{files} files in {} volumes left", view.volumes.len());
    bar.set_message(stuck.map_or(left.clone(), |why| format!("{left} ({why})")));
    bar.tick();
}

/// What the removal of an appliance means.
pub fn removal(view: &RemovalView) -> String {
    let name = &view.name;
    let mut out = match (view.files_alone, view.unknown.is_empty()) {
        (0, true) => format!("{name} has nothing that nobody else has\n"),
        (files, _) => {
            format!("{name} alone has {files} files: they are lost if it never comes back\n")
        }
    };
    if !view.unknown.is_empty() {
        let volumes = view.unknown.join(", ");
        out.push_str(&format!("what it alone has of {volumes} can't be found out\n"));
    }
    for volume in view.volumes.iter().filter(|volume| !volume.examples.is_empty()) {
        let alone = volume.files_alone.unwrap_or_default();
        out.push_str(&format!("\nof {}, {alone} files, such as:\n", volume.volume));
        for example in &volume.examples {
            out.push_str(&format!("  {}{example}\n", volume.volume));
        }
    }
    match view.volumes.is_empty() {
        true => out,
        false => format!("{out}\n{}\n", held(&view.volumes)),
    }
}

/// What an appliance holds, a line a volume, and what is in the way of its leaving.
fn held(volumes: &[HeldView]) -> String {
    if volumes.is_empty() {
        return String::new();
    }
    let number = |files: Option<u64>| files.map_or("?".to_owned(), |files| files.to_string());
    let rows = volumes.iter().map(|volume| {
        vec![
            volume.volume.clone(),
            volume.held.clone(),
            number(volume.files),
            number(volume.files_alone),
            volume.others.join(", "),
        ]
    });
    let mut out = table(&["VOLUME", "AS", "FILES", "ALONE", "OTHERS"], rows.collect());
    for volume in volumes {
        if let Some(note) = &volume.note {
            out.push_str(&format!("{}: {note}\n", volume.volume));
        }
    }
    out
}

/// Where a file is.
pub fn whereis(found: &WhereView) -> String {
    let facts = [
        ("state", state(&found.state)),
        ("owner", found.owner.clone()),
        ("copies", found.copies.join(", ")),
        ("stale", found.stale.join(", ")),
        ("pinned", found.pinned.clone().unwrap_or_else(|| "no".to_owned())),
        ("epoch", found.epoch.to_string()),
        ("object", format!("{} of volume {}", found.object, found.volume)),
    ];
    let line = |(what, value): &(&str, String)| format!("{what:<7} {value}").trim_end().to_owned();
    facts.iter().map(|fact| line(fact) + "\n").collect()
}

/// Why a file stays or moves.
pub fn explain(view: &ExplainView) -> String {
    let mut out = format!("{}\n\n", view.outcome);
    out.push_str(&format!("owner      {}\n", view.owner));
    out.push_str(&format!("own uses   {} in the last 10 s\n", view.own_uses));
    out.push_str(&format!("would move at {} forwards from one appliance\n", view.needed));
    for asker in &view.forwards {
        out.push_str(&format!("  {:<8} {} forwards\n", asker.from, asker.forwards));
    }
    if view.rests_for_seconds > 0 {
        out.push_str(&format!("rests for  {}\n", duration(view.rests_for_seconds)));
    }
    if view.moved_back > 0 {
        out.push_str(&format!("moved back {} times in a row\n", view.moved_back));
    }
    out
}

/// Changes of owners, a line each.
pub fn ledger(view: &LedgerView) -> String {
    let rows = view.changes.iter().map(|change| {
        vec![
            change.at.clone(),
            change.volume.clone(),
            change.object.map_or("all".to_owned(), |object| object.to_string()),
            change.from.clone().unwrap_or_else(|| "?".to_owned()),
            change.to.clone(),
            change.cause.clone(),
            change.epoch.to_string(),
        ]
    });
    let mut out = match view.changes.is_empty() {
        true => "no changes are remembered\n".to_owned(),
        false => table(&["AT", "VOLUME", "OBJECT", "FROM", "TO", "CAUSE", "EPOCH"], rows.collect()),
    };
    if !view.unheard.is_empty() {
        out.push_str(&format!("not heard: {}\n", view.unheard.join(", ")));
    }
    out
}

/// The token, alone on its line, so that it can be written to a file.
pub fn token(view: &TokenView) -> String {
    format!("{}\n", view.token)
}
