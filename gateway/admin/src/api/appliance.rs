//! The appliance itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::operator::{Operator, Problem};
use crate::views::{StatusView, TokenView};

/// The appliance at a glance
#[utoipa::path(get, path = "/v1/status", tag = "appliance", responses(
    (status = 200, body = StatusView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn status<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<StatusView>, Problem> {
    operator.status().map(Json)
}

/// What opens the API over TCP
#[utoipa::path(get, path = "/v1/admin/token", tag = "appliance", responses(
    (status = 200, body = TokenView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn token<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<TokenView>, Problem> {
    operator.token().map(Json)
}

/// All metrics, in Prometheus' text format
#[utoipa::path(get, path = "/metrics", tag = "appliance", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn metrics<O: Operator>(State(operator): State<Arc<O>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], operator.metrics()).into_response()
}
