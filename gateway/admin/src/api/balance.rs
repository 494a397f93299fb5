//! What drains will do, and rebalances: plans, and what becomes of them.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::extract::At;
use crate::balance::{DrainPlanView, RebalanceView};
use crate::operator::{Operator, Problem};

/// What the drain of an appliance would do; nothing is done
#[utoipa::path(get, path = "/v1/fleet/members/{name}/drain/plan", tag = "fleet", params(("name" = String, Path, description = "The appliance's name, or its number in hex")), responses(
    (status = 200, body = DrainPlanView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn plan_drain<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<Json<DrainPlanView>, Problem> {
    operator.plan_drain(&name).await.map(Json)
}

/// How a rebalance is going; if none is, what one would move
#[utoipa::path(get, path = "/v1/fleet/rebalance", tag = "fleet", responses(
    (status = 200, body = RebalanceView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show_rebalance<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<RebalanceView>, Problem> {
    operator.rebalance().await.map(Json)
}

/// Moves files until the appliances' disks are evenly full
#[utoipa::path(post, path = "/v1/fleet/rebalance", tag = "fleet", responses(
    (status = 202, body = RebalanceView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn begin_rebalance<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<(StatusCode, Json<RebalanceView>), Problem> {
    let begun = operator.begin_rebalance().await?;
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Ends a rebalance; what was moved stays moved
#[utoipa::path(delete, path = "/v1/fleet/rebalance", tag = "fleet", responses(
    (status = 200, body = RebalanceView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn cancel_rebalance<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<RebalanceView>, Problem> {
    operator.cancel_rebalance().await.map(Json)
}
