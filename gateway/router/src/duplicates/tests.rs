use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

fn key(client: u8, digest: u128) -> Option<RequestKey> {
    Some(RequestKey { client: ClientAddress::from_bytes([client; 16]), digest })
}

#[tokio::test]
async fn a_call_sent_twice_is_run_once_and_both_get_the_answer() {
    let duplicates = Arc::new(Duplicates::with_answers(|_| true));
    let runs = Arc::new(AtomicU32::new(0));
    let (go, wait) = oneshot::channel::<()>();
    let first = tokio::spawn({
        let (duplicates, runs) = (duplicates.clone(), runs.clone());
        async move {
            let call = async {
                runs.fetch_add(1, Ordering::Relaxed);
                wait.await.unwrap();
                7
            };
            duplicates.once(key(1, 1), call).await
        }
    });
    tokio::task::yield_now().await;
    let second = tokio::spawn({
        let (duplicates, runs) = (duplicates.clone(), runs.clone());
        async move {
            let call = async {
                runs.fetch_add(1, Ordering::Relaxed);
                8
            };
            duplicates.once(key(1, 1), call).await
        }
    });
    tokio::task::yield_now().await;
    go.send(()).unwrap();
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (7, 7));
    assert_eq!(duplicates.once(key(1, 1), async { 9 }).await, 7);
    assert_eq!(runs.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_call_whose_runner_went_away_is_run_by_the_next() {
    let duplicates = Duplicates::with_answers(|_| true);
    {
        let never = duplicates.once(key(1, 1), std::future::pending::<u32>());
        tokio::pin!(never);
        let waited = tokio::time::timeout(std::time::Duration::from_millis(1), never).await;
        assert!(waited.is_err());
    }
    assert_eq!(duplicates.once(key(1, 1), async { 5 }).await, 5);
}

#[tokio::test]
async fn kept_answers_are_bounded_per_client_and_in_all() {
    let duplicates = Duplicates::with_answers(|_| true);
    for n in 0..2 * KEPT_PER_CLIENT_MAX as u128 {
        duplicates.once(key(1, n), async { n }).await;
    }
    assert_eq!(duplicates.state.lock().calls.len(), KEPT_PER_CLIENT_MAX);
    for n in 0..2 * KEPT_TOTAL_MAX as u128 {
        let client = ClientAddress::from_bytes((n + 1000).to_be_bytes());
        duplicates.once(Some(RequestKey { client, digest: n }), async { n }).await;
    }
    let state = duplicates.state.lock();
    assert!(state.calls.len() <= KEPT_TOTAL_MAX + 1);
    assert!(state.clients.len() <= KEPT_TOTAL_MAX + 1);
    assert_eq!(state.clients.len(), state.arrivals.len());
}

#[tokio::test]
async fn an_answer_that_is_not_final_is_not_kept() {
    let duplicates = Duplicates::with_answers(|answer| *answer != "ask again");
    assert_eq!(duplicates.once(key(1, 1), async { "ask again" }).await, "ask again");
    assert_eq!(duplicates.once(key(1, 1), async { "done" }).await, "done");
    assert_eq!(duplicates.once(key(1, 1), async { "done twice" }).await, "done");
}
