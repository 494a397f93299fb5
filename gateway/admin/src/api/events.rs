//! What a person must know: listed here, and tried on whoever it is sent to.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::Asked;
use crate::operator::{Operator, Problem};
use crate::views::{EventView, TrialView};

/// Which notices.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Those after the one of this number; without it, the newest.
    after: Option<u64>,
    /// At most so many, up to 1000; 100 without it.
    limit: Option<usize>,
}

/// What a person must know, the older ones first
#[utoipa::path(get, path = "/v1/events", tag = "events", params(Which), responses(
    (status = 200, body = Vec<EventView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list_events<O: Operator>(
    State(operator): State<Arc<O>>,
    Asked(Which { after, limit }): Asked<Which>,
) -> Json<Vec<EventView>> {
    let limit = limit.unwrap_or(EVENTS_DEFAULT).min(EVENTS_MAX);
    Json(operator.events(after, limit))
}

/// Sends a notice to every webhook and mail target, and says what became of it at each
#[utoipa::path(post, path = "/v1/notify/test", tag = "events", responses(
    (status = 200, body = Vec<TrialView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn try_notify<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<Vec<TrialView>>, Problem> {
    operator.try_notify().await.map(Json)
}

const EVENTS_DEFAULT: usize = 100;
/// As many as are kept.
const EVENTS_MAX: usize = 1000;
