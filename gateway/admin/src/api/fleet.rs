//! The fleet: its appliances, who may join, and how one leaves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Asked, At, Sent};
use crate::operator::{Operator, Problem};
use crate::views::{
    DrainView, FleetView, InvitationView, Invite, Join, LabelsView, OpenInvitationView, RemovalHow,
    RemovalView,
};

/// How it leaves.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Leaving {
    /// `planned` is refused while it has a part in a volume; `dead` loses what it alone has.
    #[serde(default)]
    #[param(inline)]
    how: RemovalHow,
}

/// The fleet at a glance
#[utoipa::path(get, path = "/v1/fleet", tag = "fleet", responses(
    (status = 200, body = FleetView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show_fleet<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<FleetView>, Problem> {
    operator.fleet().map(Json)
}

/// Makes this appliance's fleet of one ready to be joined
#[utoipa::path(post, path = "/v1/fleet/init", tag = "fleet", responses(
    (status = 200, body = FleetView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn init_fleet<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<FleetView>, Problem> {
    operator.fleet_init().await.map(Json)
}

/// Joins another fleet; the appliance then starts anew
#[utoipa::path(post, path = "/v1/fleet/join", tag = "fleet", request_body = Join, responses(
    (status = 202),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn join_fleet<O: Operator>(
    State(operator): State<Arc<O>>,
    Sent(wanted): Sent<Join>,
) -> Result<StatusCode, Problem> {
    operator.join(wanted).await?;
    Ok(StatusCode::ACCEPTED)
}

/// All invitations that are remembered, without their secrets
#[utoipa::path(get, path = "/v1/fleet/invitations", tag = "fleet", responses(
    (status = 200, body = Vec<OpenInvitationView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list_invitations<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Json<Vec<OpenInvitationView>> {
    Json(operator.invitations())
}

/// Makes a one-time invitation
#[utoipa::path(post, path = "/v1/fleet/invitations", tag = "fleet", request_body = Invite, responses(
    (status = 201, body = InvitationView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn invite<O: Operator>(
    State(operator): State<Arc<O>>,
    Sent(wanted): Sent<Invite>,
) -> Result<(StatusCode, Json<InvitationView>), Problem> {
    let made = operator.invite(wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Takes an invitation back
#[utoipa::path(delete, path = "/v1/fleet/invitations/{id}", tag = "fleet", params(("id" = String, Path, description = "What names it, as it is shown")), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn revoke_invitation<O: Operator>(
    State(operator): State<Arc<O>>,
    At(id): At<String>,
) -> Result<StatusCode, Problem> {
    operator.revoke_invitation(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes an appliance for ever; says what it had
#[utoipa::path(delete, path = "/v1/fleet/members/{name}", tag = "fleet", params(("name" = String, Path, description = "The appliance's name, or its number in hex"), Leaving), responses(
    (status = 200, body = RemovalView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn remove_appliance<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
    Asked(Leaving { how }): Asked<Leaving>,
) -> Result<Json<RemovalView>, Problem> {
    operator.remove_appliance(&name, how).await.map(Json)
}

/// What an appliance's removal would mean; nothing is done
#[utoipa::path(get, path = "/v1/fleet/members/{name}/removal", tag = "fleet", params(("name" = String, Path, description = "The appliance's name, or its number in hex")), responses(
    (status = 200, body = RemovalView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn explain_removal<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<Json<RemovalView>, Problem> {
    operator.explain_removal(&name).await.map(Json)
}

/// How the draining of an appliance is going
#[utoipa::path(get, path = "/v1/fleet/members/{name}/drain", tag = "fleet", params(("name" = String, Path, description = "The appliance's name, or its number in hex")), responses(
    (status = 200, body = DrainView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn drained<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<Json<DrainView>, Problem> {
    operator.drained(&name).await.map(Json)
}

/// Has an appliance's data moved away from it
#[utoipa::path(post, path = "/v1/fleet/members/{name}/drain", tag = "fleet", params(("name" = String, Path, description = "The appliance's name, or its number in hex")), responses(
    (status = 202, body = DrainView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn drain<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<(StatusCode, Json<DrainView>), Problem> {
    let made = operator.drain(&name).await?;
    Ok((StatusCode::ACCEPTED, Json(made)))
}

/// Lets an appliance's data stay
#[utoipa::path(delete, path = "/v1/fleet/members/{name}/drain", tag = "fleet", params(("name" = String, Path, description = "The appliance's name, or its number in hex")), responses(
    (status = 200, body = DrainView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn stop_drain<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<Json<DrainView>, Problem> {
    operator.stop_drain(&name).await.map(Json)
}

/// Sets what an appliance says of itself, until its next start
#[utoipa::path(post, path = "/v1/fleet/members/{name}/labels", tag = "fleet", params(("name" = String, Path, description = "The appliance's name, or its number in hex")), request_body = LabelsView, responses(
    (status = 200, body = FleetView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn set_labels<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
    Sent(wanted): Sent<LabelsView>,
) -> Result<Json<FleetView>, Problem> {
    operator.set_labels(&name, wanted).await.map(Json)
}
