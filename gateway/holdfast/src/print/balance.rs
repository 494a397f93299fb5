//! Tables about what drains and rebalances move.

use admin::{
    DrainPlanView, FlowView, PaceView, RebalancePlanView, RebalanceRunView, RebalanceView,
};
use indicatif::{ProgressBar, ProgressStyle};

use super::{bytes, duration, table};

/// What a drain would do.
pub fn drain_plan(plan: &DrainPlanView) -> String {
    let DrainPlanView { name, files, .. } = plan;
    let mut out = match plan.parts.is_empty() {
        true => format!("a drain of {name} would move nothing\n"),
        false => format!(
            "a drain of {name} would move {files} files, {}, in about {}\n\n",
            bytes(plan.bytes),
            duration(plan.seconds)
        ),
    };
    if !plan.parts.is_empty() {
        let rows = plan.parts.iter().map(|part| {
            vec![
                part.volume.clone(),
                part.to.clone(),
                part.handed_files.to_string(),
                bytes(part.handed_bytes),
                part.copied_files.to_string(),
                bytes(part.copied_bytes),
            ]
        });
        let header = ["VOLUME", "TO", "HANDED OVER", "SENT", "COPIED", "SENT"];
        out.push_str(&table(&header, rows.collect()));
        out.push_str(&pace(&plan.pace));
    }
    match plan.obstacles.is_empty() {
        true => out.push_str("nothing stands in the way\n"),
        false => out.push_str(&obstacles("in the way", &plan.obstacles)),
    }
    out
}

/// How a rebalance is going, or what one would move.
pub fn rebalance(view: &RebalanceView) -> String {
    let mut out = view.run.as_ref().map(run).unwrap_or_default();
    if let Some(plan) = &view.plan {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&rebalance_plan(plan));
    }
    if !view.unheard.is_empty() {
        out.push_str(&format!("not heard: {}\n", view.unheard.join(", ")));
    }
    out
}

fn run(run: &RebalanceRunView) -> String {
    let RebalanceRunView { at, began, phase, outcome, .. } = run;
    let state = if phase == "stuck" { "STUCK".to_owned() } else { phase.clone() };
    let mut out = format!("rebalance of {began}, seen through by {at}: {state}, {outcome}\n");
    let RebalanceRunView { files_done, files_total, .. } = run;
    if *files_total > 0 {
        let (done, total) = (bytes(run.bytes_done), bytes(run.bytes_total));
        out.push_str(&format!("moved {files_done} of {files_total} files, {done} of {total}"));
        if run.bytes_per_second > 0 {
            out.push_str(&format!(", at {}/s", bytes(run.bytes_per_second)));
        }
        match run.seconds_left {
            Some(left) if !run.ended => {
                out.push_str(&format!("; about {} left\n", duration(left)));
            }
            _ => out.push('\n'),
        }
    }
    if !run.ended && !run.flows.is_empty() {
        out.push_str(&format!("\n{}", flows(&run.flows)));
    }
    out
}

fn rebalance_plan(plan: &RebalancePlanView) -> String {
    let mut out = match plan.balanced {
        true => format!(
            "nothing to move: the disks are evenly full, within {} points of a hundred, or as \
             even as they get\n\n",
            plan.tolerance_percent
        ),
        false => format!(
            "a rebalance would move {} files, {}, in about {}\n\n",
            plan.files,
            bytes(plan.bytes),
            duration(plan.seconds)
        ),
    };
    let share = |used: u64, total: u64| match total {
        0 => "?".to_owned(),
        total => format!("{:.1} %", used as f64 * 100.0 / total as f64),
    };
    let rows = plan.disks.iter().map(|disk| {
        vec![
            disk.appliance.clone(),
            if disk.state == "down" { "DOWN".to_owned() } else { disk.state.clone() },
            bytes(disk.total_bytes),
            bytes(disk.used_bytes),
            share(disk.used_bytes, disk.total_bytes),
            share(disk.used_bytes_after, disk.total_bytes),
        ]
    });
    let header = ["APPLIANCE", "STATE", "DISK", "USED", "SHARE", "AFTER"];
    out.push_str(&table(&header, rows.collect()));
    if !plan.flows.is_empty() {
        out.push_str(&format!("\n{}{}", flows(&plan.flows), pace(&plan.pace)));
    }
    out.push_str(&obstacles("uneven", &plan.obstacles));
    out
}

fn flows(flows: &[FlowView]) -> String {
    let rows = flows.iter().map(|flow| {
        vec![
            flow.volume.clone(),
            flow.from.clone(),
            flow.to.clone(),
            flow.files.to_string(),
            bytes(flow.bytes),
        ]
    });
    table(&["VOLUME", "FROM", "TO", "FILES", "BYTES"], rows.collect())
}

fn pace(pace: &PaceView) -> String {
    let rate = bytes(pace.bytes_per_second);
    let each = pace.micros_per_file as f64 / 1000.0;
    let why = match pace.measured {
        true => "as it was lately",
        false => "which is assumed: nothing was moved since its start",
    };
    format!("at {rate}/s and {each:.0} ms for each file, {why}\n")
}

fn obstacles(what: &str, all: &[String]) -> String {
    all.iter().map(|one| format!("{what}: {one}\n")).collect()
}

/// A bar for a rebalance that somebody waits for.
pub fn rebalance_progress() -> ProgressBar {
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {bytes} of {total_bytes}, {msg}") {
        bar.set_style(style);
    }
    bar
}

/// Says how far a rebalance is.
pub fn rebalance_step(bar: &ProgressBar, run: &RebalanceRunView) {
    bar.set_length(run.bytes_total);
    bar.set_position(run.bytes_done);
    let files = format!("{} of {} files", run.files_done, run.files_total);
    let rate = bytes(run.bytes_per_second);
    bar.set_message(match (run.phase.as_str(), run.seconds_left) {
        ("moving", Some(left)) => format!("{files}, {rate}/s, {} left", duration(left)),
        ("moving", None) => files,
        _ => run.outcome.clone(),
    });
}

#[cfg(test)]
mod tests {
    use admin::{BalancedDiskView, DrainPartView};

    use super::*;

    const ASSUMED: PaceView =
        PaceView { bytes_per_second: 50 << 20, micros_per_file: 20_000, measured: false };

    #[test]
    fn a_drain_says_what_goes_where_how_long_and_what_is_in_the_way() {
        let part = DrainPartView {
            volume: "media".into(),
            to: "bob".into(),
            handed_files: 30,
            handed_bytes: 3 << 30,
            copied_files: 0,
            copied_bytes: 0,
        };
        let mut plan = DrainPlanView {
            name: "ada".into(),
            parts: vec![part],
            files: 30,
            bytes: 3 << 30,
            seconds: 61,
            pace: ASSUMED,
            obstacles: vec![],
        };
        let said = drain_plan(&plan);
        for wanted in [
            "a drain of ada would move 30 files, 3.0 GiB, in about 1 min 1 s\n",
            "VOLUME  TO   HANDED OVER  SENT     COPIED  SENT\n",
            "media   bob  30           3.0 GiB  0       0 B\n",
            "at 50.0 MiB/s and 20 ms for each file, which is assumed",
            "nothing stands in the way\n",
        ] {
            assert!(said.contains(wanted), "{wanted:?} is not in:\n{said}");
        }
        (plan.parts, plan.obstacles) = (vec![], vec!["nobody else holds media".into()]);
        let said = drain_plan(&plan);
        assert_eq!(
            said,
            "a drain of ada would move nothing\nin the way: nobody else holds media\n"
        );
    }

    #[test]
    fn a_plan_shows_the_disks_before_and_after_and_a_run_how_far_it_is() {
        let disk = |name: &str, used, after| BalancedDiskView {
            appliance: name.into(),
            state: "up".into(),
            total_bytes: 1000,
            used_bytes: used,
            used_bytes_after: after,
        };
        let flow = FlowView {
            volume: "media".into(),
            from: "ada".into(),
            to: "bob".into(),
            files: 3,
            bytes: 300,
        };
        let plan = RebalancePlanView {
            balanced: false,
            tolerance_percent: 5,
            disks: vec![disk("ada", 600, 300), disk("bob", 0, 300)],
            flows: vec![flow.clone()],
            files: 3,
            bytes: 300,
            seconds: 1,
            pace: ASSUMED,
            obstacles: vec!["cyd is down".into()],
        };
        let run = RebalanceRunView {
            id: "1-1".into(),
            at: "ada".into(),
            began: "2026-01-01T00:00:00Z".into(),
            phase: "moving".into(),
            ended: false,
            succeeded: false,
            flows: vec![flow],
            files_total: 3,
            files_done: 1,
            files_kept: 0,
            bytes_total: 300,
            bytes_done: 100,
            bytes_per_second: 10,
            seconds_left: Some(20),
            outcome: "files are being moved".into(),
        };
        let view = |run, plan| RebalanceView { run, plan, unheard: vec![] };
        let said = rebalance(&view(None, Some(plan)));
        for wanted in ["60.0 %  30.0 %\n", "media   ada   bob  3      300 B\n", "uneven: cyd is"] {
            assert!(said.contains(wanted), "{wanted:?} is not in:\n{said}");
        }
        let said = rebalance(&view(Some(run), None));
        let wanted = "moved 1 of 3 files, 100 B of 300 B, at 10 B/s; about 20 s left\n";
        assert!(said.contains(wanted), "{said}");
    }
}
