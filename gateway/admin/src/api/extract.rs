//! What comes in with a request; what can't be read is a problem that says so.

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use crate::operator::{Problem, ProblemKind};

/// The parts of the path that name something.
pub struct At<T>(pub T);

/// What stands behind the question mark.
pub struct Asked<T>(pub T);

/// A JSON body.
pub struct Sent<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Path::from_request_parts(parts, state).await;
        found.map(|Path(found)| Self(found)).map_err(|bad| unreadable(&bad.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = Query::from_request_parts(parts, state).await;
        found.map(|Query(found)| Self(found)).map_err(|bad| unreadable(&bad.body_text()))
    }
}

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Sent<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let found = Json::from_request(request, state).await;
        found.map(|Json(found)| Self(found)).map_err(|bad| unreadable(&bad.body_text()))
    }
}

fn unreadable(why: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest, why)
}
