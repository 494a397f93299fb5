//! The routes.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use model::ExportRule;
use serde::Deserialize;

use crate::operator::{Operator, Problem, ProblemKind};
use crate::views::{CheckView, CreateVolume, ExportView, FaultView, StatusView, VolumeView};

/// The whole API over `operator`.
pub fn router<O: Operator>(operator: Arc<O>) -> Router {
    Router::new()
        .route("/v1/status", get(status::<O>))
        .route("/v1/volumes", get(volumes::<O>).post(create_volume::<O>))
        .route("/v1/volumes/{name}", get(volume::<O>).delete(delete_volume::<O>))
        .route("/v1/volumes/{name}/check", post(check::<O>))
        .route("/v1/volumes/{name}/exports", post(set_export::<O>).delete(remove_export::<O>))
        .route("/v1/volumes/{name}/faults/{object}/clear", post(clear_fault::<O>))
        .route("/v1/faults", get(faults::<O>))
        .route("/metrics", get(metrics::<O>))
        .fallback(no_such_route)
        .with_state(operator)
}

/// Only the metrics: for a listener that everybody may reach.
pub(crate) fn metrics_router<O: Operator>(operator: Arc<O>) -> Router {
    Router::new().route("/metrics", get(metrics::<O>)).fallback(no_such_route).with_state(operator)
}

async fn status<O: Operator>(State(operator): State<Arc<O>>) -> Result<Json<StatusView>, Problem> {
    operator.status().map(Json)
}

async fn volumes<O: Operator>(State(operator): State<Arc<O>>) -> Json<Vec<VolumeView>> {
    Json(operator.volumes())
}

async fn volume<O: Operator>(
    State(operator): State<Arc<O>>,
    Path(name): Path<String>,
) -> Result<Json<VolumeView>, Problem> {
    operator.volume(&name).map(Json)
}

async fn create_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    wanted: Result<Json<CreateVolume>, JsonRejection>,
) -> Result<(StatusCode, Json<VolumeView>), Problem> {
    let Json(wanted) = wanted.map_err(bad_json)?;
    let made = operator.create_volume(wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

async fn delete_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    operator.delete_volume(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn check<O: Operator>(
    State(operator): State<Arc<O>>,
    Path(name): Path<String>,
) -> Result<Json<CheckView>, Problem> {
    operator.check(&name).await.map(Json)
}

async fn set_export<O: Operator>(
    State(operator): State<Arc<O>>,
    Path(name): Path<String>,
    view: Result<Json<ExportView>, JsonRejection>,
) -> Result<Json<VolumeView>, Problem> {
    let Json(view) = view.map_err(bad_json)?;
    let rule = ExportRule::try_from(&view).map_err(|e| Problem::new(ProblemKind::BadRequest, e))?;
    operator.set_export(&name, rule).await.map(Json)
}

#[derive(Deserialize)]
struct Client {
    client: String,
}

async fn remove_export<O: Operator>(
    State(operator): State<Arc<O>>,
    Path(name): Path<String>,
    Query(Client { client }): Query<Client>,
) -> Result<Json<VolumeView>, Problem> {
    operator.remove_export(&name, &client).await.map(Json)
}

#[derive(Deserialize)]
struct OfVolume {
    volume: Option<String>,
}

async fn faults<O: Operator>(
    State(operator): State<Arc<O>>,
    Query(OfVolume { volume }): Query<OfVolume>,
) -> Result<Json<Vec<FaultView>>, Problem> {
    operator.faults(volume.as_deref()).map(Json)
}

async fn clear_fault<O: Operator>(
    State(operator): State<Arc<O>>,
    Path((name, object)): Path<(String, u64)>,
) -> Result<StatusCode, Problem> {
    operator.clear_fault(&name, object).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn metrics<O: Operator>(State(operator): State<Arc<O>>) -> Response {
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], operator.metrics()).into_response()
}

async fn no_such_route() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such path; see the README for the API's")
}

fn bad_json(rejection: JsonRejection) -> Problem {
    Problem::new(ProblemKind::BadRequest, rejection.body_text())
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}
