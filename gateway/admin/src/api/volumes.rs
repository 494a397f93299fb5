//! Volumes: made, shown, exported, held, deleted and brought back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use model::ExportRule;
use serde::Deserialize;
use utoipa::IntoParams;

use super::extract::{Asked, At, Sent};
use crate::operator::{Operator, Problem, ProblemKind};
use crate::views::{
    CheckView, CreateVolume, DeletedVolumeView, ExportView, FaultView, Undelete, VolumeMembers,
    VolumePolicy, VolumeView,
};

/// Whose rule.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Client {
    /// The pattern, as it is shown.
    client: String,
}

/// Of what.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct OfVolume {
    /// Of this volume alone.
    volume: Option<String>,
}

/// All volumes
#[utoipa::path(get, path = "/v1/volumes", tag = "volumes", responses(
    (status = 200, body = Vec<VolumeView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list_volumes<O: Operator>(State(operator): State<Arc<O>>) -> Json<Vec<VolumeView>> {
    Json(operator.volumes())
}

/// Makes a volume
#[utoipa::path(post, path = "/v1/volumes", tag = "volumes", request_body = CreateVolume, responses(
    (status = 201, body = VolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn create_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    Sent(wanted): Sent<CreateVolume>,
) -> Result<(StatusCode, Json<VolumeView>), Problem> {
    let made = operator.create_volume(wanted).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// One volume
#[utoipa::path(get, path = "/v1/volumes/{name}", tag = "volumes", params(("name" = String, Path, description = "The volume's name")), responses(
    (status = 200, body = VolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<Json<VolumeView>, Problem> {
    operator.volume(&name).map(Json)
}

/// Deletes a volume; it can be brought back for a week
#[utoipa::path(delete, path = "/v1/volumes/{name}", tag = "volumes", params(("name" = String, Path, description = "The volume's name")), responses(
    (status = 200, body = DeletedVolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn delete_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<Json<DeletedVolumeView>, Problem> {
    operator.delete_volume(&name).await.map(Json)
}

/// Walks a volume and names everything that does not fit together
#[utoipa::path(post, path = "/v1/volumes/{name}/check", tag = "volumes", params(("name" = String, Path, description = "The volume's name")), responses(
    (status = 200, body = CheckView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn check_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
) -> Result<Json<CheckView>, Problem> {
    operator.check(&name).await.map(Json)
}

/// Says who shall hold a volume from now on; its files follow
#[utoipa::path(post, path = "/v1/volumes/{name}/members", tag = "volumes", params(("name" = String, Path, description = "The volume's name")), request_body = VolumeMembers, responses(
    (status = 200, body = VolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn set_volume_members<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
    Sent(wanted): Sent<VolumeMembers>,
) -> Result<Json<VolumeView>, Problem> {
    operator.set_volume_members(&name, wanted).await.map(Json)
}

/// Says how a volume's files are kept; copies are made or given up by and by
#[utoipa::path(post, path = "/v1/volumes/{name}/policy", tag = "volumes", params(("name" = String, Path, description = "The volume's name")), request_body = VolumePolicy, responses(
    (status = 200, body = VolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn set_volume_policy<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
    Sent(wanted): Sent<VolumePolicy>,
) -> Result<Json<VolumeView>, Problem> {
    operator.set_volume_policy(&name, wanted).await.map(Json)
}

/// Sets the rule for some clients
#[utoipa::path(post, path = "/v1/volumes/{name}/exports", tag = "volumes", params(("name" = String, Path, description = "The volume's name")), request_body = ExportView, responses(
    (status = 200, body = VolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn set_export<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
    Sent(wanted): Sent<ExportView>,
) -> Result<Json<VolumeView>, Problem> {
    let bad = |e| Problem::new(ProblemKind::BadRequest, e);
    let rule = ExportRule::try_from(&wanted).map_err(bad)?;
    operator.set_export(&name, rule).await.map(Json)
}

/// Removes the rule for some clients
#[utoipa::path(delete, path = "/v1/volumes/{name}/exports", tag = "volumes", params(("name" = String, Path, description = "The volume's name"), Client), responses(
    (status = 200, body = VolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn remove_export<O: Operator>(
    State(operator): State<Arc<O>>,
    At(name): At<String>,
    Asked(Client { client }): Asked<Client>,
) -> Result<Json<VolumeView>, Problem> {
    operator.remove_export(&name, &client).await.map(Json)
}

/// Takes an object's copy for good again, after somebody has looked at it
#[utoipa::path(post, path = "/v1/volumes/{name}/faults/{object}/clear", tag = "volumes", params(("name" = String, Path, description = "The volume's name"), ("object" = u64, Path, description = "The object's number")), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn clear_fault<O: Operator>(
    State(operator): State<Arc<O>>,
    At((name, object)): At<(String, u64)>,
) -> Result<StatusCode, Problem> {
    operator.clear_fault(&name, object).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Objects with a stale copy
#[utoipa::path(get, path = "/v1/faults", tag = "volumes", params(OfVolume), responses(
    (status = 200, body = Vec<FaultView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list_faults<O: Operator>(
    State(operator): State<Arc<O>>,
    Asked(OfVolume { volume }): Asked<OfVolume>,
) -> Result<Json<Vec<FaultView>>, Problem> {
    operator.faults(volume.as_deref()).map(Json)
}

/// Deleted volumes that can be brought back
#[utoipa::path(get, path = "/v1/deleted-volumes", tag = "volumes", responses(
    (status = 200, body = Vec<DeletedVolumeView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list_deleted_volumes<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Json<Vec<DeletedVolumeView>> {
    Json(operator.deleted_volumes())
}

/// Deletes a deleted volume's data, for good
#[utoipa::path(delete, path = "/v1/deleted-volumes/{which}", tag = "volumes", params(("which" = String, Path, description = "The name that it had, or its number")), responses(
    (status = 204),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn purge_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    At(which): At<String>,
) -> Result<StatusCode, Problem> {
    operator.purge_volume(&which).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Brings a deleted volume back
#[utoipa::path(post, path = "/v1/deleted-volumes/{which}/undelete", tag = "volumes", params(("which" = String, Path, description = "The name that it had, or its number")), request_body = Undelete, responses(
    (status = 200, body = VolumeView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn undelete_volume<O: Operator>(
    State(operator): State<Arc<O>>,
    At(which): At<String>,
    Sent(wanted): Sent<Undelete>,
) -> Result<Json<VolumeView>, Problem> {
    operator.undelete_volume(&which, wanted).await.map(Json)
}
