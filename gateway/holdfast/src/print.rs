//! Tables that people read.

mod addresses;
mod balance;
mod events;
mod fleet;
mod image;
mod scrub;

use admin::{CheckView, DeletedVolumeView, ExportView, FaultView, JobView, StatusView, VolumeView};
use indicatif::{ProgressBar, ProgressStyle};
use model::{ExportAccess, Squash};

pub use self::addresses::*;
pub use self::balance::*;
pub use self::events::*;
pub use self::fleet::*;
pub use self::image::*;
pub use self::scrub::*;

/// The appliance at a glance.
pub fn status(status: &StatusView) -> String {
    let disk = status.disk;
    let used = disk.total_bytes.saturating_sub(disk.free_bytes);
    let facts = [
        ("name", status.name.clone()),
        ("appliance", status.appliance.clone()),
        ("version", status.version.clone()),
        ("up for", duration(status.uptime_seconds)),
        ("view", status.view.to_string()),
        ("listens on", status.listen.join(", ")),
        ("disk", format!("{} of {} used", bytes(used), bytes(disk.total_bytes))),
    ];
    let mut out = String::new();
    for (what, value) in facts {
        out.push_str(&format!("{what:<11} {value}\n"));
    }
    if let Some(admin) = &status.admin {
        out.push_str(&format!("admin       https://{}\n", admin.listen));
        out.push_str(&format!("fingerprint {}\n", admin.fingerprint));
    }
    out.push('\n');
    out.push_str(&volumes(&status.volumes));
    if !status.addresses.is_empty() {
        out.push('\n');
        out.push_str(&addresses(&status.addresses));
    }
    out
}

/// Volumes, a line each.
pub fn volumes(volumes: &[VolumeView]) -> String {
    let rows = volumes.iter().map(|volume| {
        vec![
            volume.name.clone(),
            state(&volume.state),
            volume.export_path.clone(),
            volume.objects.to_string(),
            volume.exports.len().to_string(),
            match volume.durability.as_str() {
                "local" => format!("{} LOCAL", volume.replicas),
                _ => volume.replicas.to_string(),
            },
            volume.degraded.to_string(),
            volume.faults.to_string(),
            volume.loss_count.to_string(),
            members(volume),
        ]
    });
    let header = [
        "VOLUME", "STATE", "MOUNT", "OBJECTS", "EXPORTS", "COPIES", "DEGRADED", "FAULTS", "LOSSES",
        "ON",
    ];
    table(&header, rows.collect())
}

/// Who holds a volume, who of several leads it, and who is to hold it no more.
fn members(volume: &VolumeView) -> String {
    let several = volume.members.len() > 1;
    let names = volume.members.iter().map(|name| match &volume.leader {
        Some(leader) if several && leader == name => format!("{name} (leads)"),
        Some(_) | None => name.clone(),
    });
    let names = names.collect::<Vec<_>>().join(", ");
    match volume.leaving.is_empty() {
        true => names,
        false => format!("{names}; leaving: {}", volume.leaving.join(", ")),
    }
}

/// One volume with its exports.
pub fn volume(volume: &VolumeView) -> String {
    let volume = std::slice::from_ref(volume);
    format!("{}\n{}", volumes(volume), exports(volume))
}

/// Deleted volumes, a line each.
pub fn deleted(volumes: &[DeletedVolumeView]) -> String {
    if volumes.is_empty() {
        return "no deleted volumes\n".to_owned();
    }
    let rows = volumes.iter().map(|volume| {
        let left = duration(volume.kept_seconds);
        let until = format!("{} ({left})", volume.kept_until);
        vec![volume.name.clone(), volume.id.to_string(), volume.at.clone(), until]
    });
    table(&["VOLUME", "NUMBER", "DELETED", "CAN BE BROUGHT BACK UNTIL"], rows.collect())
}

/// What became of a volume, and how to undo it.
pub fn volume_deleted(volume: &DeletedVolumeView) -> String {
    let DeletedVolumeView { name, id, kept_until, .. } = volume;
    let left = duration(volume.kept_seconds);
    format!(
        "{name} is deleted; nobody can mount it any more. All its files are kept until \
         {kept_until} ({left}):\n\n    holdfast volume undelete {id}           brings it back\n    \
         holdfast volume purge {id} --yes        deletes them now\n"
    )
}

/// Export rules, a line each.
pub fn exports(volumes: &[VolumeView]) -> String {
    let rows = volumes.iter().flat_map(|volume| {
        volume.exports.iter().map(|rule| {
            vec![
                volume.name.clone(),
                rule.client.clone(),
                access(rule).to_owned(),
                squash(rule).to_owned(),
                format!("{}:{}", rule.anonuid, rule.anongid),
                if rule.insecure { "any" } else { "below 1024" }.to_owned(),
                if rule.manage_gids { "here" } else { "client" }.to_owned(),
            ]
        })
    });
    let header = ["VOLUME", "CLIENT", "ACCESS", "SQUASH", "ANONYMOUS", "PORTS", "GROUPS"];
    table(&header, rows.collect())
}

/// Objects with a stale copy, a line each.
pub fn faults(faults: &[FaultView]) -> String {
    if faults.is_empty() {
        return "no faults\n".to_owned();
    }
    let rows = faults.iter().map(|f| vec![f.volume.clone(), f.object.to_string()]);
    table(&["VOLUME", "OBJECT"], rows.collect())
}

/// Jobs, a line each.
pub fn jobs(jobs: &[JobView]) -> String {
    if jobs.is_empty() {
        return "no jobs\n".to_owned();
    }
    let rows = jobs.iter().map(|job| {
        vec![
            job.id.clone(),
            job.phase.clone(),
            format!("{} of {}", bytes(job.bytes_done), bytes(job.bytes_total)),
            format!("{:.1} ms", job.pause_micros as f64 / 1000.0),
            job.subject.clone(),
            job.outcome.clone().unwrap_or_default(),
        ]
    });
    table(&["JOB", "PHASE", "MOVED", "PAUSE", "SUBJECT", "OUTCOME"], rows.collect())
}

/// A bar for a job that somebody waits for.
pub fn progress(job: &JobView) -> ProgressBar {
    let bar = ProgressBar::new(job.bytes_total);
    let style = "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar
}

/// What a check found.
pub fn check(check: &CheckView) -> String {
    let mut out = format!(
        "{} objects, {} names, {} backing files to remove: {}\n",
        check.objects,
        check.names,
        check.removals,
        if check.clean { "clean" } else { "NOT CLEAN" },
    );
    for violation in &check.violations {
        out.push_str(&format!("  {violation}\n"));
    }
    out
}

/// How well something is; loud if somebody should look.
fn state(state: &str) -> String {
    let words = state.replace('_', " ");
    match state {
        "in_sync" | "resyncing" | "unknown" => words,
        _ => words.to_uppercase(),
    }
}

fn access(rule: &ExportView) -> &'static str {
    match rule.access {
        ExportAccess::ReadWrite => "rw",
        ExportAccess::ReadOnly => "ro",
    }
}

fn squash(rule: &ExportView) -> &'static str {
    match rule.squash {
        Squash::Root => "root",
        Squash::All => "all",
        Squash::None => "none",
    }
}

/// Columns as wide as their widest cell.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut widths: Vec<usize> = header.iter().map(|cell| cell.len()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let header = header.iter().map(|cell| (*cell).to_owned()).collect();
    let mut out = String::new();
    for row in std::iter::once(header).chain(rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn bytes(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests;
