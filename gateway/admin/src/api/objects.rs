//! Single files: where they are, why, where they were; and the jobs that move them.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Asked, At, Sent};
use crate::operator::{Operator, Problem};
use crate::views::{ExplainView, JobView, LedgerView, PinWanted, Transfer, TransferTo, WhereView};

/// Which file.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AtPath {
    /// `VOLUME/PATH`.
    path: String,
}

/// Of which file.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfPath {
    /// `VOLUME/PATH` of one file alone.
    path: Option<String>,
}

/// How long to wait.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Waiting {
    /// Answer when the job has ended, or after so many seconds; at most 60.
    #[serde(default)]
    wait_seconds: u64,
}

/// Who owns a file and who has copies
#[utoipa::path(get, path = "/v1/objects/whereis", tag = "objects", params(AtPath), responses(
    (status = 200, body = WhereView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn find_path<O: Operator>(
    State(operator): State<Arc<O>>,
    Asked(AtPath { path }): Asked<AtPath>,
) -> Result<Json<WhereView>, Problem> {
    operator.whereis(&path).await.map(Json)
}

/// Why a file stays or moves: its owner's arithmetic
#[utoipa::path(get, path = "/v1/objects/explain", tag = "objects", params(AtPath), responses(
    (status = 200, body = ExplainView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn explain_path<O: Operator>(
    State(operator): State<Arc<O>>,
    Asked(AtPath { path }): Asked<AtPath>,
) -> Result<Json<ExplainView>, Problem> {
    operator.explain(&path).await.map(Json)
}

/// Begins to move a file, named by its path
#[utoipa::path(post, path = "/v1/objects/transfer", tag = "objects", request_body = Transfer, responses(
    (status = 202, body = JobView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn transfer_path<O: Operator>(
    State(operator): State<Arc<O>>,
    Sent(wanted): Sent<Transfer>,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let made = operator.transfer(wanted).await?;
    Ok((StatusCode::ACCEPTED, Json(made)))
}

/// Says at which appliance a file is wanted, or frees it; it moves there by itself
#[utoipa::path(post, path = "/v1/objects/pin", tag = "objects", request_body = PinWanted, responses(
    (status = 200, body = WhereView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn pin_path<O: Operator>(
    State(operator): State<Arc<O>>,
    Sent(wanted): Sent<PinWanted>,
) -> Result<Json<WhereView>, Problem> {
    operator.pin(wanted).await.map(Json)
}

/// Begins to move a file, named by its number
#[utoipa::path(post, path = "/v1/objects/{volume}/{object}/transfer", tag = "objects", params(("volume" = String, Path, description = "The volume's name"), ("object" = u64, Path, description = "The file's number")), request_body = TransferTo, responses(
    (status = 202, body = JobView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn transfer_object<O: Operator>(
    State(operator): State<Arc<O>>,
    At((volume, object)): At<(String, u64)>,
    Sent(wanted): Sent<TransferTo>,
) -> Result<(StatusCode, Json<JobView>), Problem> {
    let made = operator.transfer_object(&volume, object, wanted).await?;
    Ok((StatusCode::ACCEPTED, Json(made)))
}

/// Which files changed their owner, when and why
#[utoipa::path(get, path = "/v1/ledger", tag = "objects", params(OfPath), responses(
    (status = 200, body = LedgerView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show_ledger<O: Operator>(
    State(operator): State<Arc<O>>,
    Asked(OfPath { path }): Asked<OfPath>,
) -> Result<Json<LedgerView>, Problem> {
    operator.ledger(path.as_deref()).await.map(Json)
}

/// The jobs of all appliances that are up
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs", responses(
    (status = 200, body = Vec<JobView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list_jobs<O: Operator>(State(operator): State<Arc<O>>) -> Json<Vec<JobView>> {
    Json(operator.jobs().await)
}

/// How a job is going, at once or when it has ended
#[utoipa::path(get, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's number"), Waiting), responses(
    (status = 200, body = JobView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show_job<O: Operator>(
    State(operator): State<Arc<O>>,
    At(id): At<String>,
    Asked(Waiting { wait_seconds }): Asked<Waiting>,
) -> Result<Json<JobView>, Problem> {
    let wait = Duration::from_secs(wait_seconds).min(JOB_WAIT_MAX);
    let ended = async {
        loop {
            let job = operator.job(&id).await?;
            if job.ended {
                return Ok(Json(job));
            }
            tokio::time::sleep(JOB_LOOK).await;
        }
    };
    match tokio::time::timeout(wait, ended).await {
        Ok(answer) => answer,
        Err(_) => operator.job(&id).await.map(Json),
    }
}

/// Breaks a job off
#[utoipa::path(delete, path = "/v1/jobs/{id}", tag = "jobs", params(("id" = String, Path, description = "The job's number")), responses(
    (status = 200, body = JobView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn cancel_job<O: Operator>(
    State(operator): State<Arc<O>>,
    At(id): At<String>,
) -> Result<Json<JobView>, Problem> {
    operator.cancel_job(&id).await.map(Json)
}

/// Proxies and people give up on an answer after about a minute.
const JOB_WAIT_MAX: Duration = Duration::from_secs(60);
/// The job may run at another appliance, which is asked so often.
const JOB_LOOK: Duration = Duration::from_millis(100);
