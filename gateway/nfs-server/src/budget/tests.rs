use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::*;

const BRIEF: Duration = Duration::from_millis(50);

#[tokio::test]
async fn what_is_given_back_goes_to_who_waits_longest() {
    let budget = Arc::new(Budget::new(10));
    assert!(budget.try_take(8));
    let large = tokio::spawn({
        let budget = budget.clone();
        async move { budget.take(9).await }
    });
    while budget.waiting.load(SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!budget.try_take(1), "a small one must not overtake");
    budget.give_back(8);
    large.await.unwrap();
    assert_eq!(budget.used(), 9);
    assert!(budget.try_take(1));
}

#[tokio::test]
async fn who_gives_up_waiting_has_taken_nothing_and_blocks_nobody() {
    let budget = Budget::new(10);
    budget.take(10).await;
    assert!(timeout(BRIEF, budget.take(5)).await.is_err());
    budget.give_back(4);
    assert!(budget.try_take(4));
    assert_eq!(budget.used(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_never_exceed_the_limit_and_all_get_through() {
    let budget = Arc::new(Budget::new(7));
    let tasks: Vec<_> = (0..64)
        .map(|task: usize| {
            let budget = budget.clone();
            tokio::spawn(async move {
                for round in 0..200 {
                    let amount = 1 + (task + round) % 7;
                    budget.take(amount).await;
                    assert!(budget.used() <= 7);
                    tokio::task::yield_now().await;
                    budget.give_back(amount);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(budget.used(), 0);
}
