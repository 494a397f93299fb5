//! What one turn of one workload against one server gave, and what several turns give together.
//!
//! Invariant: a rate is work over wall-clock time, and the work is counted by replies.

use std::time::Duration;

use serde::Serialize;

/// What the rate of a workload counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Calls that were answered, a second.
    Operations,
    /// Directory entries that were listed, a second.
    Entries,
    /// MiB of payload, a second.
    Mebibytes,
}

impl Unit {
    /// As the table writes it.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Operations => "op/s",
            Self::Entries => "entries/s",
            Self::Mebibytes => "MiB/s",
        }
    }
}

/// One turn.
#[derive(Debug, Clone)]
pub struct Sample {
    /// How much was done, in the workload's unit.
    pub work: f64,
    /// How many calls were answered.
    pub calls: u64,
    /// How long it took.
    pub elapsed: Duration,
    /// Median latency of a call, in microseconds.
    pub p50_micros: f64,
    /// What 99 of 100 calls stayed within, in microseconds.
    pub p99_micros: f64,
    /// Processor time that the server used meanwhile, where it can be known.
    pub processor: Option<Duration>,
}

impl Sample {
    /// Work a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.work / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Microseconds of the server's processor time a call.
    #[must_use]
    pub fn processor_micros(&self) -> Option<f64> {
        let processor = self.processor?.as_secs_f64();
        Some(processor * 1e6 / count(self.calls.max(1)))
    }
}

/// How long each call took, from when it was queued to when its reply was decoded.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    nanos: Vec<u64>,
}

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, latency: Duration) {
        self.nanos.push(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Adds those of another connection.
    pub fn append(&mut self, mut other: Self) {
        self.nanos.append(&mut other.nanos);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.nanos.len() as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nanos.is_empty()
    }

    /// What half of the calls, and what 99 of 100, stayed within, in microseconds.
    #[must_use]
    pub fn percentiles(mut self) -> (f64, f64) {
        self.nanos.sort_unstable();
        let micros_at = |percent: usize| {
            let at = (self.nanos.len() * percent / 100).min(self.nanos.len().saturating_sub(1));
            self.nanos.get(at).map_or(0.0, |nanos| count(*nanos) / 1000.0)
        };
        (micros_at(50), micros_at(99))
    }
}

/// Several turns of one workload against one server: the median of each figure.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Work a second, the median of the turns.
    pub rate: f64,
    /// The slowest turn.
    pub rate_least: f64,
    /// The fastest turn.
    pub rate_most: f64,
    /// Median latency of a call, in microseconds.
    pub p50_micros: f64,
    /// What 99 of 100 calls stayed within, in microseconds.
    pub p99_micros: f64,
    /// The server's processor time a call, in microseconds.
    pub processor_micros: Option<f64>,
}

impl Summary {
    /// `None` without a turn.
    #[must_use]
    pub fn of(samples: &[Sample]) -> Option<Self> {
        let rates: Vec<f64> = samples.iter().map(Sample::rate).collect();
        let processor: Vec<f64> = samples.iter().filter_map(Sample::processor_micros).collect();
        Some(Self {
            rate: median(&rates)?,
            rate_least: rates.iter().copied().fold(f64::INFINITY, f64::min),
            rate_most: rates.iter().copied().fold(0.0, f64::max),
            p50_micros: median_of(samples, |sample| sample.p50_micros)?,
            p99_micros: median_of(samples, |sample| sample.p99_micros)?,
            processor_micros: median(&processor),
        })
    }
}

fn median_of(samples: &[Sample], figure: impl Fn(&Sample) -> f64) -> Option<f64> {
    median(&samples.iter().map(figure).collect::<Vec<_>>())
}

/// The middle one; between two, their mean.
#[must_use]
pub fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

/// A count as a figure; those of a benchmark are far below 2^53.
#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are far below 2^53")]
#[must_use]
pub fn count(count: u64) -> f64 {
    count as f64
}
