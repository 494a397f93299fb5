//! Tables for people, and the same as JSON.
//!
//! Invariant: a goal that was missed is called missed, in the table and in the JSON.

use std::fmt::Write as _;

use serde::Serialize;

use crate::sample::{Summary, Unit};

/// One workload, measured against several servers.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What was done.
    pub workload: String,
    /// What its rate counts.
    pub unit: Unit,
    /// By server; the first is ours, the second the one that the ratio and the goal compare with.
    pub servers: Vec<Measured>,
    /// Ours over the second's.
    pub ratio: Option<f64>,
    /// What the ratio should be at least.
    pub goal: Option<f64>,
    /// Whether it is.
    pub met: Option<bool>,
}

/// What one server gave.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Which.
    pub server: String,
    /// The median of its turns; `None` if it can't do this.
    pub summary: Option<Summary>,
}

impl Row {
    /// Computes ratio and verdict.
    #[must_use]
    pub fn new(workload: &str, unit: Unit, goal: Option<f64>, servers: Vec<Measured>) -> Self {
        let rate = |at: usize| Some(servers.get(at)?.summary.as_ref()?.rate);
        let ratio = rate(0).zip(rate(1)).map(|(ours, theirs)| ours / theirs);
        let met = ratio.zip(goal).map(|(ratio, goal)| ratio >= goal);
        Self { workload: workload.to_owned(), unit, servers, ratio, goal, met }
    }
}

/// One figure, beside what it is to be seen.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Of what.
    pub what: String,
    /// How much.
    pub figure: f64,
    /// Of which unit.
    pub unit: &'static str,
    /// In the same unit: a goal, or what else was measured.
    pub beside: Option<f64>,
}

/// Figures in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Figures(Vec<Figure>);

impl Figures {
    /// Takes one more, and says so: a run takes a quarter of an hour.
    pub fn push(&mut self, figure: Figure) {
        eprintln!("{}: {:.1} {}", figure.what, figure.figure, figure.unit);
        self.0.push(figure);
    }

    /// Prints all as a table, or as JSON.
    pub fn print(&self, json: bool) {
        if json {
            let all = serde_json::to_string_pretty(&self.0).expect("figures are plain data");
            println!("{all}");
            return;
        }
        let head = ["what", "figure", "unit", "beside", "ratio"];
        let mut cells = vec![head.map(str::to_owned).to_vec()];
        for Figure { what, figure, unit, beside } in &self.0 {
            let ratio = beside.map_or_else(String::new, |beside| format!("{:.2}", figure / beside));
            let beside = beside.map_or_else(String::new, |beside| format!("{beside:.1}"));
            let figure = format!("{figure:.1}");
            cells.push(vec![what.clone(), figure, (*unit).to_owned(), beside, ratio]);
        }
        print!("{}", align(&cells));
    }
}

/// The rows as text: a line each, and what the columns mean.
#[must_use]
pub fn render(rows: &[Row]) -> String {
    let mut cells = vec![head(rows)];
    cells.extend(rows.iter().map(line));
    let mut text = align(&cells);
    let missed: Vec<&str> =
        rows.iter().filter(|row| row.met == Some(false)).map(|row| &*row.workload).collect();
    let goals = rows.iter().filter(|row| row.met.is_some()).count();
    let summary = match (goals, missed.len()) {
        (0, _) => return text,
        (_, 0) => "every goal was met".to_owned(),
        (goals, count) => format!("{count} of {goals} goals missed: {}", missed.join("; ")),
    };
    writeln!(text, "\n{summary}").expect("a string takes what is written to it");
    text
}

fn head(rows: &[Row]) -> Vec<String> {
    let mut cells = vec!["workload".to_owned(), "unit".to_owned()];
    for measured in rows.first().map_or(&[][..], |row| &row.servers) {
        cells.push(measured.server.clone());
        cells.extend(["p50 µs", "p99 µs", "cpu µs"].map(str::to_owned));
    }
    cells.extend(["ratio", "goal", "verdict"].map(str::to_owned));
    cells
}

fn line(row: &Row) -> Vec<String> {
    let mut cells = vec![row.workload.clone(), row.unit.label().to_owned()];
    for measured in &row.servers {
        match &measured.summary {
            Some(summary) => cells.extend([
                format!("{:.0}", summary.rate),
                format!("{:.0}", summary.p50_micros),
                format!("{:.0}", summary.p99_micros),
                optional(summary.processor_micros, 0),
            ]),
            None => cells.extend(["-", "-", "-", "-"].map(str::to_owned)),
        }
    }
    let verdict = match row.met {
        Some(true) => "met",
        Some(false) => "MISSED",
        None => "",
    };
    cells.extend([optional(row.ratio, 2), optional(row.goal, 1), verdict.to_owned()]);
    cells
}

fn optional(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or_else(String::new, |figure| format!("{figure:.decimals$}"))
}

/// Pads every column to its widest cell; the first is flush left, the others flush right.
#[must_use]
pub fn align(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let padded = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| {
            if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
        });
        let padded: Vec<String> = padded.collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}
