//! Tables that people read.

use admin::{CheckView, ExportView, FaultView, StatusView, VolumeView};
use model::{ExportAccess, Squash};

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
    out.push('\n');
    out.push_str(&volumes(&status.volumes));
    out
}

/// Volumes, a line each.
pub fn volumes(volumes: &[VolumeView]) -> String {
    let rows = volumes.iter().map(|volume| {
        vec![
            volume.name.clone(),
            volume.export_path.clone(),
            volume.objects.to_string(),
            volume.exports.len().to_string(),
            volume.faults.to_string(),
            volume.loss_count.to_string(),
        ]
    });
    table(&["VOLUME", "MOUNT", "OBJECTS", "EXPORTS", "FAULTS", "LOSSES"], rows.collect())
}

/// One volume with its exports.
pub fn volume(volume: &VolumeView) -> String {
    let volume = std::slice::from_ref(volume);
    format!("{}\n{}", volumes(volume), exports(volume))
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
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![vec!["a".into(), "1".into()], vec!["long".into(), "22".into()]];
        assert_eq!(table(&["X", "Y"], rows), "X     Y\na     1\nlong  22\n");
    }

    #[test]
    fn sizes_and_times_are_told_in_units_that_fit() {
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(duration(59), "59 s");
        assert_eq!(duration(3_700), "1 h 1 min");
        assert_eq!(duration(90_000), "1 d 1 h");
    }
}
