//! What the appliance boots from.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;

use crate::image::{ImageChange, ImageView, SIGNATURE_HEADER};
use crate::operator::{Operator, Problem, ProblemKind};

/// What this appliance boots from
#[utoipa::path(get, path = "/v1/image", tag = "image", responses(
    (status = 200, body = ImageView),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn show_image<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<ImageView>, Problem> {
    operator.image().map(Json)
}

/// Has this appliance restart from another image, and keep it if all is well then
#[utoipa::path(post, path = "/v1/image", tag = "image",
    params(("holdfast-signature" = String, Header, description = "its minisign file, in hex")),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses(
        (status = 200, body = ImageChange),
        (status = "default", body = Problem, content_type = "application/problem+json"),
    )
)]
pub async fn update_image<O: Operator>(
    State(operator): State<Arc<O>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ImageChange>, Problem> {
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| text_of(value.as_bytes()));
    let signature = signature.ok_or_else(|| {
        let detail = "the header holdfast-signature must hold the image's minisign file, in hex";
        Problem::new(ProblemKind::BadRequest, detail)
    })?;
    operator.update_image(signature, body).await.map(Json)
}

/// Has this appliance restart from the image before
#[utoipa::path(post, path = "/v1/image/rollback", tag = "image", responses(
    (status = 200, body = ImageChange),
    (status = "default", body = Problem, content_type = "application/problem+json"),
))]
pub async fn roll_image_back<O: Operator>(
    State(operator): State<Arc<O>>,
) -> Result<Json<ImageChange>, Problem> {
    operator.roll_image_back().await.map(Json)
}

fn text_of(hex: &[u8]) -> Option<String> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, odd) = hex.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(high)? << 4 | digit(low)?).ok();
    let bytes = pairs.iter().map(byte).collect::<Option<Vec<u8>>>()?;
    String::from_utf8(bytes).ok().filter(|_| odd.is_empty())
}
