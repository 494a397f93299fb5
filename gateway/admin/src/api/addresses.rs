//! Floating addresses: who holds which, and moving one.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;

use super::extract::{At, Sent};
use crate::addresses::{AddressMove, AddressView};
use crate::operator::{Operator, Problem, ProblemKind};

/// All floating addresses of the fleet
#[utoipa::path(get, path = "/v1/addresses", tag = "fleet", responses(
    (status = 200, body = Vec<AddressView>),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn list_addresses<O: Operator>(State(operator): State<Arc<O>>) -> Json<Vec<AddressView>> {
    Json(operator.addresses())
}

/// Has another appliance hold a floating address
#[utoipa::path(post, path = "/v1/addresses/{address}/move", tag = "fleet", params(("address" = String, Path, description = "The address, without its subnet")), request_body = AddressMove, responses(
    (status = 200, body = AddressView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn move_address<O: Operator>(
    State(operator): State<Arc<O>>,
    At(address): At<String>,
    Sent(wanted): Sent<AddressMove>,
) -> Result<Json<AddressView>, Problem> {
    // What `fleet addresses` shows may be said as well.
    let bare = address.split('/').next().unwrap_or_default();
    let address: IpAddr = bare.parse().map_err(|_| {
        let detail = format!("{address:?} is no IP address, such as 10.0.0.9");
        Problem::new(ProblemKind::BadRequest, detail)
    })?;
    operator.move_address(address, wanted).await.map(Json)
}
