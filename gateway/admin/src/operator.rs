//! What the API needs done: the binary implements it over the running appliance.

use std::future::Future;

use model::ExportRule;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::views::{CheckView, CreateVolume, FaultView, StatusView, VolumeView};

/// Why something was not done (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{detail}")]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of problem, in a few words.
    pub title: String,
    /// What, where, and what to do.
    pub detail: String,
}

/// The kinds of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    /// What was sent makes no sense.
    BadRequest,
    /// There is no such thing.
    NotFound,
    /// It is there already, or something else is in the way.
    Conflict,
    /// Something is broken here.
    Fault,
}

impl Problem {
    /// A problem of one of the kinds.
    pub fn new(kind: ProblemKind, detail: impl ToString) -> Self {
        let (status, title) = match kind {
            ProblemKind::BadRequest => (400, "bad request"),
            ProblemKind::NotFound => (404, "not found"),
            ProblemKind::Conflict => (409, "conflict"),
            ProblemKind::Fault => (500, "fault"),
        };
        Self { status, title: title.to_owned(), detail: detail.to_string() }
    }
}

/// Everything an operator can see and have done.
pub trait Operator: Send + Sync + 'static {
    /// The appliance at a glance.
    fn status(&self) -> Result<StatusView, Problem>;

    /// All volumes.
    fn volumes(&self) -> Vec<VolumeView>;

    /// One volume.
    fn volume(&self, name: &str) -> Result<VolumeView, Problem>;

    /// Makes a volume.
    fn create_volume(
        &self,
        wanted: CreateVolume,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Deletes a volume with all its data.
    fn delete_volume(&self, name: &str) -> impl Future<Output = Result<(), Problem>> + Send;

    /// Sets the rule for one pattern of clients: replaces the one there is, or is added last.
    fn set_export(
        &self,
        name: &str,
        rule: ExportRule,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Removes the rule for a pattern of clients.
    fn remove_export(
        &self,
        name: &str,
        client: &str,
    ) -> impl Future<Output = Result<VolumeView, Problem>> + Send;

    /// Walks a volume.
    fn check(&self, name: &str) -> impl Future<Output = Result<CheckView, Problem>> + Send;

    /// Objects with a stale copy.
    fn faults(&self, volume: Option<&str>) -> Result<Vec<FaultView>, Problem>;

    /// Takes an object's copy for good again.
    fn clear_fault(
        &self,
        name: &str,
        object: u64,
    ) -> impl Future<Output = Result<(), Problem>> + Send;

    /// All metrics, in Prometheus' text format.
    fn metrics(&self) -> String;
}
