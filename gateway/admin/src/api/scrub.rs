//! Scrubs of all appliances of the fleet.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::extract::Sent;
use crate::operator::{Operator, Problem};
use crate::scrub::{ScrubView, ScrubWanted};

/// How the scrubs of all appliances stand
#[utoipa::path(get, path = "/v1/scrub", tag = "scrub", responses(
    (status = 200, body = Vec<ScrubView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show_scrubs<O: Operator>(State(operator): State<Arc<O>>) -> Json<Vec<ScrubView>> {
    Json(operator.scrubs().await)
}

/// Begins to scrub at all appliances; one that was stopped goes on
#[utoipa::path(post, path = "/v1/scrub", tag = "scrub", request_body = ScrubWanted, responses(
    (status = 200, body = Vec<ScrubView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn start_scrub<O: Operator>(
    State(operator): State<Arc<O>>,
    Sent(wanted): Sent<ScrubWanted>,
) -> Result<Json<Vec<ScrubView>>, Problem> {
    operator.start_scrub(wanted).await.map(Json)
}

/// Stops to scrub at all appliances; the next start goes on where they are
#[utoipa::path(delete, path = "/v1/scrub", tag = "scrub", responses(
    (status = 200, body = Vec<ScrubView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn stop_scrub<O: Operator>(State(operator): State<Arc<O>>) -> Json<Vec<ScrubView>> {
    Json(operator.stop_scrub().await)
}
