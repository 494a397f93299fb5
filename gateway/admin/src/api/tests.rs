use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::testing::{FakeOperator, JOB_LOOKS};

async fn ask(
    operator: &Arc<FakeOperator>,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> (u16, String, Value) {
    let request = Request::builder().method(method).uri(path);
    let request = match body {
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string()))
            .unwrap(),
        None => request.body(Body::empty()).unwrap(),
    };
    let answer = router(operator.clone()).oneshot(request).await.unwrap();
    let status = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (status, kind.unwrap_or_default(), value)
}

fn operator() -> Arc<FakeOperator> {
    Arc::default()
}

async fn document() -> Value {
    let (status, _, document) = ask(&operator(), "GET", "/v1/openapi.json", None).await;
    assert_eq!(status, 200);
    document
}

#[tokio::test]
async fn every_route_is_described_and_everything_described_is_a_route() {
    let document = document().await;
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let listed = routes::<FakeOperator>().listed;
    let routed: BTreeSet<String> =
        listed.iter().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(described, routed);
    assert_eq!(routed.len(), listed.len(), "no route twice");
    // The list is what the router does: nothing in it ends at the fallbacks.
    for (method, path) in listed {
        let path = path.replace("{object}", "7").replace(['{', '}'], "");
        let (status, _, value) = ask(&operator(), method.as_str(), &path, None).await;
        let fallback = value["detail"].as_str().is_some_and(|d| d.contains("openapi.json"));
        assert!(status != 405 && !fallback, "{method} {path}: {status} {value}");
    }
}

#[tokio::test]
async fn the_description_is_whole_openapi_3_1() {
    let document = document().await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert!(document["info"]["title"].is_string() && document["info"]["version"].is_string());
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let at = format!("{method} {path}");
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{id} twice: {at}");
            assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{at}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
            assert!(responses.values().all(|r| r["description"].is_string()), "{at}");
            let named: Vec<&str> = operation["parameters"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            for part in path.split('/').filter_map(|part| part.strip_prefix('{')) {
                let name = part.strip_suffix('}').unwrap();
                assert!(named.contains(&name), "{at} does not describe {name}");
            }
            assert_eq!(named.len(), path.matches('{').count(), "{at}");
        }
    }
    each_reference(&document, &mut |reference| {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    });
    assert_eq!(document["components"]["securitySchemes"]["token"]["scheme"], "bearer");
}

fn each_reference(value: &Value, look: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
                look(reference);
            }
            fields.values().for_each(|field| each_reference(field, look));
        }
        Value::Array(items) => items.iter().for_each(|item| each_reference(item, look)),
        _ => {}
    }
}

#[tokio::test]
async fn whatever_is_refused_is_a_problem_with_its_status() {
    let whole = json!({ "name": "media" });
    for (method, path, body, status) in [
        ("GET", "/v1/nothing", None, 404),
        ("PUT", "/v1/status", None, 405),
        ("GET", "/v1/volumes/none", None, 404),
        ("POST", "/v1/volumes", Some(json!({ "nome": "x" })), 400),
        ("POST", "/v1/volumes", Some(whole), 409),
        ("POST", "/v1/volumes", None, 400),
        ("POST", "/v1/volumes/media/faults/seven/clear", None, 400),
        ("GET", "/v1/objects/whereis", None, 400),
        ("GET", "/v1/jobs/1-1?wait_seconds=soon", None, 400),
        ("DELETE", "/v1/fleet/members/ada?how=gently", None, 400),
        ("POST", "/v1/volumes/media/exports", Some(json!({ "client": "nobody" })), 400),
    ] {
        let (got, kind, problem) = ask(&operator(), method, path, body).await;
        let wanted = (status, "application/problem+json");
        assert_eq!((got, kind.as_str()), wanted, "{method} {path}: {problem}");
        assert_eq!(problem["status"], status, "{method} {path}");
        assert!(problem["detail"].as_str().is_some_and(|d| !d.is_empty()), "{method} {path}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let huge = json!({ "name": "x".repeat(BODY_BYTES_MAX) });
    let (status, kind, _) = ask(&operator(), "POST", "/v1/volumes", Some(huge)).await;
    assert_eq!((status, kind.as_str()), (400, "application/problem+json"));
}

#[tokio::test]
async fn a_transfer_is_accepted_with_a_job_and_its_end_can_be_waited_for() {
    let operator = operator();
    let wanted = json!({ "path": "media/film", "to": "bob" });
    let (status, _, job) = ask(&operator, "POST", "/v1/objects/transfer", Some(wanted)).await;
    assert_eq!((status, &job["ended"]), (202, &json!(false)));
    let to = Some(json!({ "to": "bob" }));
    let (status, _, _) = ask(&operator, "POST", "/v1/objects/media/7/transfer", to).await;
    assert_eq!(status, 202);
    let (_, _, job) = ask(&operator, "GET", "/v1/jobs/1-1", None).await;
    assert_eq!(job["ended"], false, "who does not wait is told how it is going");
    let (_, _, job) = ask(&operator, "GET", "/v1/jobs/1-1?wait_seconds=30", None).await;
    assert_eq!((&job["ended"], &job["outcome"]), (&json!(true), &json!("handed over")));
    let (status, _, _) = ask(&operator, "DELETE", "/v1/jobs/1-1", None).await;
    assert_eq!(
        (status, operator.done()),
        (200, vec!["transfer 7 to bob".into(), "cancel 1-1".into()])
    );
    const { assert!(JOB_LOOKS > 1, "a job that ends at once is not waited for") };
}

#[tokio::test]
async fn an_appliance_is_drained_and_removed_as_it_was_said() {
    let operator = operator();
    for (method, path, status) in [
        ("POST", "/v1/fleet/members/ada/drain", 202),
        ("DELETE", "/v1/fleet/members/ada/drain", 200),
        ("DELETE", "/v1/fleet/members/ada", 200),
        ("DELETE", "/v1/fleet/members/ada?how=dead", 200),
    ] {
        assert_eq!(ask(&operator, method, path, None).await.0, status, "{method} {path}");
    }
    let done = ["drain ada", "stop the drain of ada", "remove ada Planned", "remove ada Dead"];
    assert_eq!(operator.done(), done);
}

#[tokio::test]
async fn a_rebalance_is_begun_with_a_plan_and_ended_and_a_drain_is_planned_without_a_change() {
    let operator = operator();
    let (status, _, view) = ask(&operator, "POST", "/v1/fleet/rebalance", None).await;
    assert_eq!((status, &view["run"]["ended"]), (202, &json!(false)));
    let (status, _, view) = ask(&operator, "DELETE", "/v1/fleet/rebalance", None).await;
    assert_eq!((status, &view["run"]["phase"]), (200, &json!("cancelled")));
    assert_eq!(ask(&operator, "GET", "/v1/fleet/rebalance", None).await.0, 200);
    let path = "/v1/fleet/members/ada/drain/plan";
    let (status, _, plan) = ask(&operator, "GET", path, None).await;
    assert_eq!((status, plan["obstacles"].as_array().unwrap().len()), (200, 1));
    assert_eq!(ask(&operator, "GET", "/v1/fleet/members/bob/drain/plan", None).await.0, 404);
    assert_eq!(operator.done(), ["rebalance", "cancel the rebalance"]);
}

#[tokio::test]
async fn events_are_listed_after_a_number_and_never_too_many() {
    let operator = operator();
    let numbers = |value: &Value| {
        let events = value.as_array().unwrap();
        (events.len(), events.first().map(|event| event["number"].as_u64().unwrap()))
    };
    for (query, wanted) in [
        ("", (100, Some(1))),
        ("?after=290", (10, Some(291))),
        ("?after=5&limit=2", (2, Some(6))),
        ("?limit=100000", (300, Some(1))),
        ("?after=300", (0, None)),
    ] {
        let (status, _, events) = ask(&operator, "GET", &format!("/v1/events{query}"), None).await;
        assert_eq!((status, numbers(&events)), (200, wanted), "{query}");
    }
    let (status, _, tried) = ask(&operator, "POST", "/v1/notify/test", None).await;
    assert_eq!((status, &tried[0]["delivered"]), (200, &json!(true)));
}

#[tokio::test]
async fn scrubs_are_started_stopped_and_shown() {
    let operator = operator();
    for (method, body, status, state) in [
        ("GET", None, 200, json!("idle")),
        ("POST", Some(json!({})), 200, json!("running")),
        ("POST", Some(json!({ "volume": "media" })), 200, json!("running")),
        ("POST", Some(json!({ "volume": "none" })), 404, Value::Null),
        ("POST", Some(json!({ "volumes": "media" })), 400, Value::Null),
        ("DELETE", None, 200, json!("paused")),
    ] {
        let (got, _, value) = ask(&operator, method, "/v1/scrub", body).await;
        assert_eq!((got, &value[0]["state"]), (status, &state), "{method}: {value}");
    }
    let done = ["scrub None", "scrub Some(\"media\")", "stop the scrub"];
    assert_eq!(operator.done(), done);
}

#[tokio::test]
async fn an_image_comes_with_its_signature_in_a_header_or_not_at_all() {
    let operator = operator();
    let (status, _, view) = ask(&operator, "GET", "/v1/image", None).await;
    assert_eq!((status, &view["booted"]), (200, &json!("holdfast-00000001.efi")));
    let update = async |signature: Option<&str>| {
        let mut request = Request::builder().method("POST").uri("/v1/image");
        if let Some(signature) = signature {
            request = request.header("holdfast-signature", signature);
        }
        let request = request.body(Body::from(vec![0; 9])).unwrap();
        let answer = router(operator.clone()).oneshot(request).await.unwrap();
        answer.status().as_u16()
    };
    // What is no hexadecimal text, in bytes or in characters.
    for bad in [None, Some("736"), Some("7g"), Some("ff"), Some("+7")] {
        assert_eq!(update(bad).await, 400, "{bad:?}");
    }
    assert_eq!(operator.done(), Vec::<String>::new(), "nothing was uploaded");
    assert_eq!(update(Some("7369676e6564")).await, 200);
    let (status, _, back) = ask(&operator, "POST", "/v1/image/rollback", None).await;
    assert_eq!((status, &back["file"]), (200, &json!("holdfast-00000003+1.efi")));
    assert_eq!(operator.done(), ["update the image: signed, 9 bytes", "roll the image back"]);
}
