//! The API's description, served beside it (OpenAPI 3.1).

use std::sync::LazyLock;

use axum::Json;
use utoipa::openapi::OpenApi as Document;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{addresses, appliance, balance, events, fleet, image, objects, scrub, volumes};

/// The admin API of one appliance, over its unix socket (only root) or over TLS (with the token
/// that `holdfast admin token` shows). What is refused is a problem (RFC 9457).
#[derive(OpenApi)]
#[openapi(
    info(title = "Holdfast", version = "1"),
    paths(
        appliance::status,
        appliance::token,
        appliance::metrics,
        document,
        volumes::list_volumes,
        volumes::create_volume,
        volumes::show_volume,
        volumes::delete_volume,
        volumes::check_volume,
        volumes::set_volume_members,
        volumes::set_volume_policy,
        volumes::set_export,
        volumes::remove_export,
        volumes::clear_fault,
        volumes::list_faults,
        volumes::list_deleted_volumes,
        volumes::purge_volume,
        volumes::undelete_volume,
        fleet::show_fleet,
        fleet::init_fleet,
        fleet::join_fleet,
        fleet::list_invitations,
        fleet::invite,
        fleet::revoke_invitation,
        fleet::remove_appliance,
        fleet::explain_removal,
        fleet::drained,
        fleet::drain,
        fleet::stop_drain,
        fleet::set_labels,
        balance::plan_drain,
        balance::show_rebalance,
        balance::begin_rebalance,
        balance::cancel_rebalance,
        addresses::list_addresses,
        addresses::move_address,
        objects::find_path,
        objects::explain_path,
        objects::transfer_path,
        objects::pin_path,
        objects::transfer_object,
        events::list_events,
        events::try_notify,
        scrub::show_scrubs,
        scrub::start_scrub,
        scrub::stop_scrub,
        image::show_image,
        image::update_image,
        image::roll_image_back,
        objects::show_ledger,
        objects::list_jobs,
        objects::show_job,
        objects::cancel_job,
    ),
    security(("token" = [])),
    modifiers(&Bearer),
)]
struct Described;

/// How to show the token.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut Document) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("token", scheme);
    }
}

/// The description; made once.
static DOCUMENT: LazyLock<Document> = LazyLock::new(Described::openapi);

/// This description
#[utoipa::path(get, path = "/v1/openapi.json", tag = "appliance", responses(
    (status = 200, body = Object, content_type = "application/json"),
))]
pub async fn document() -> Json<&'static Document> {
    Json(&DOCUMENT)
}
