//! The routes, and what goes in and out of all of them.
//!
//! Invariant: every route is listed beside its handler, so that a test can hold the list against
//! the API's description; whatever is refused is a problem (RFC 9457). Absent on purpose: who may
//! ask; that is the listener's.

mod addresses;
mod appliance;
mod balance;
mod events;
mod extract;
mod fleet;
mod image;
mod objects;
mod openapi;
mod scrub;
mod volumes;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};

use crate::operator::{Operator, Problem, ProblemKind};

/// The whole API over `operator`.
pub fn router<O: Operator>(operator: Arc<O>) -> Router {
    routes()
        .router
        .fallback(no_such_route)
        .method_not_allowed_fallback(not_allowed)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(operator)
}

/// Only the metrics: for a listener that everybody may reach.
pub(crate) fn metrics_router<O: Operator>(operator: Arc<O>) -> Router {
    Router::new()
        .route("/metrics", get(appliance::metrics::<O>))
        .fallback(no_such_route)
        .with_state(operator)
}

/// Routes, and a list of them.
struct Routes<O> {
    router: Router<Arc<O>>,
    /// The API's description is held against it.
    listed: Vec<(Method, &'static str)>,
}

impl<O: Operator> Routes<O> {
    fn at(mut self, path: &'static str, method: Method, handler: MethodRouter<Arc<O>>) -> Self {
        self.listed.push((method, path));
        self.router = self.router.route(path, handler);
        self
    }
}

fn routes<O: Operator>() -> Routes<O> {
    let (g, p, d) = (Method::GET, Method::POST, Method::DELETE);
    let (g, p, d) = (|| g.clone(), || p.clone(), || d.clone());
    Routes { router: Router::new(), listed: Vec::new() }
        .at("/v1/status", g(), get(appliance::status::<O>))
        .at("/v1/admin/token", g(), get(appliance::token::<O>))
        .at("/v1/openapi.json", g(), get(openapi::document))
        .at("/metrics", g(), get(appliance::metrics::<O>))
        .at("/v1/volumes", g(), get(volumes::list_volumes::<O>))
        .at("/v1/volumes", p(), post(volumes::create_volume::<O>))
        .at("/v1/volumes/{name}", g(), get(volumes::show_volume::<O>))
        .at("/v1/volumes/{name}", d(), delete(volumes::delete_volume::<O>))
        .at("/v1/volumes/{name}/check", p(), post(volumes::check_volume::<O>))
        .at("/v1/volumes/{name}/members", p(), post(volumes::set_volume_members::<O>))
        .at("/v1/volumes/{name}/policy", p(), post(volumes::set_volume_policy::<O>))
        .at("/v1/volumes/{name}/exports", p(), post(volumes::set_export::<O>))
        .at("/v1/volumes/{name}/exports", d(), delete(volumes::remove_export::<O>))
        .at("/v1/volumes/{name}/faults/{object}/clear", p(), post(volumes::clear_fault::<O>))
        .at("/v1/deleted-volumes", g(), get(volumes::list_deleted_volumes::<O>))
        .at("/v1/deleted-volumes/{which}", d(), delete(volumes::purge_volume::<O>))
        .at("/v1/deleted-volumes/{which}/undelete", p(), post(volumes::undelete_volume::<O>))
        .at("/v1/faults", g(), get(volumes::list_faults::<O>))
        .at("/v1/fleet", g(), get(fleet::show_fleet::<O>))
        .at("/v1/fleet/init", p(), post(fleet::init_fleet::<O>))
        .at("/v1/fleet/join", p(), post(fleet::join_fleet::<O>))
        .at("/v1/fleet/invitations", g(), get(fleet::list_invitations::<O>))
        .at("/v1/fleet/invitations", p(), post(fleet::invite::<O>))
        .at("/v1/fleet/invitations/{id}", d(), delete(fleet::revoke_invitation::<O>))
        .at("/v1/fleet/members/{name}", d(), delete(fleet::remove_appliance::<O>))
        .at("/v1/fleet/members/{name}/removal", g(), get(fleet::explain_removal::<O>))
        .at("/v1/fleet/members/{name}/drain", g(), get(fleet::drained::<O>))
        .at("/v1/fleet/members/{name}/drain", p(), post(fleet::drain::<O>))
        .at("/v1/fleet/members/{name}/drain", d(), delete(fleet::stop_drain::<O>))
        .at("/v1/fleet/members/{name}/drain/plan", g(), get(balance::plan_drain::<O>))
        .at("/v1/fleet/rebalance", g(), get(balance::show_rebalance::<O>))
        .at("/v1/fleet/rebalance", p(), post(balance::begin_rebalance::<O>))
        .at("/v1/fleet/rebalance", d(), delete(balance::cancel_rebalance::<O>))
        .at("/v1/fleet/members/{name}/labels", p(), post(fleet::set_labels::<O>))
        .at("/v1/objects/whereis", g(), get(objects::find_path::<O>))
        .at("/v1/objects/explain", g(), get(objects::explain_path::<O>))
        .at("/v1/objects/transfer", p(), post(objects::transfer_path::<O>))
        .at("/v1/objects/pin", p(), post(objects::pin_path::<O>))
        .at("/v1/objects/{volume}/{object}/transfer", p(), post(objects::transfer_object::<O>))
        .at("/v1/events", g(), get(events::list_events::<O>))
        .at("/v1/notify/test", p(), post(events::try_notify::<O>))
        .at("/v1/addresses", g(), get(addresses::list_addresses::<O>))
        .at("/v1/addresses/{address}/move", p(), post(addresses::move_address::<O>))
        .at("/v1/scrub", g(), get(scrub::show_scrubs::<O>))
        .at("/v1/scrub", p(), post(scrub::start_scrub::<O>))
        .at("/v1/scrub", d(), delete(scrub::stop_scrub::<O>))
        .at("/v1/image", g(), get(image::show_image::<O>))
        .at("/v1/image", p(), post(image::update_image::<O>))
        .at("/v1/image/rollback", p(), post(image::roll_image_back::<O>))
        .at("/v1/ledger", g(), get(objects::show_ledger::<O>))
        .at("/v1/jobs", g(), get(objects::list_jobs::<O>))
        .at("/v1/jobs/{id}", g(), get(objects::show_job::<O>))
        .at("/v1/jobs/{id}", d(), delete(objects::cancel_job::<O>))
}

async fn no_such_route() -> Problem {
    Problem::new(ProblemKind::NotFound, "no such path; /v1/openapi.json lists those there are")
}

async fn not_allowed() -> Problem {
    let detail = "not with this method; /v1/openapi.json says with which";
    Problem::new(ProblemKind::NotAllowed, detail)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        // RFC 9110 section 11.6.1: whoever is refused is told how to ask.
        let how = [(header::WWW_AUTHENTICATE, "Bearer realm=\"holdfast\"")];
        match status {
            StatusCode::UNAUTHORIZED => (status, kind, how, body).into_response(),
            _ => (status, kind, body).into_response(),
        }
    }
}

/// A volume with all its export rules takes some tens of kilobytes.
const BODY_BYTES_MAX: usize = 256 << 10;

#[cfg(test)]
mod tests;
