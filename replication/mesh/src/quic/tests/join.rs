//! Newcomers.

use super::*;
use crate::limits::{JOIN_REQUEST_BYTES_MAX, JOINS_MAX};
use crate::testing::TestClock;
use crate::{Invitation, JoinFault, join};

async fn say(mesh: &QuicMesh, to: Fingerprint, what: Bytes) -> Result<Bytes, JoinFault> {
    join(mesh.address().unwrap(), to, what, TestClock::at(NOW), SOON).await
}

use crate::Fingerprint;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_with_the_token_of_the_fleet_is_answered() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let token = Invitation::new(fleet.fingerprint(), &TestEntropy).to_string();
    let token: Invitation = token.parse().unwrap();
    let reply = say(&mesh, token.fleet(), Bytes::from_static(b"me")).await.unwrap();
    assert_eq!(reply, "welcome, me");
    assert_eq!(at.frames(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_says_nothing_to_an_impostor() {
    let (mesh, at) = appliance(&authority(), A);
    let said = say(&mesh, authority().fingerprint(), Bytes::from_static(b"secret")).await;
    assert_eq!(said, Err(JoinFault::AnotherFleet));
    assert_eq!(at.frames(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_impostor_who_shows_the_real_authority_is_not_believed() {
    // The certificate of the real authority is public: an impostor may append it to its own.
    let (real, own) = (authority(), authority());
    let shown = own.issue(A, &TestEntropy, NOW, DAY).with_authority_of(&real);
    let (mesh, at) = mesh_of(shown, settings());
    let said = say(&mesh, real.fingerprint(), Bytes::from_static(b"secret")).await;
    assert_eq!(said, Err(JoinFault::AnotherFleet));
    assert_eq!(at.frames(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expired_appliance_is_not_believed_by_a_newcomer() {
    let fleet = authority();
    let expired = fleet.issue(A, &TestEntropy, model::Timestamp::default(), DAY);
    let (mesh, at) = mesh_of(expired, settings());
    let said = say(&mesh, fleet.fingerprint(), Bytes::from_static(b"secret")).await;
    assert_eq!(said, Err(JoinFault::AnotherFleet));
    assert_eq!(at.frames(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomers_request_is_bounded() {
    let fleet = authority();
    let (mesh, at) = appliance(&fleet, A);
    let largest = Bytes::from(vec![b'x'; JOIN_REQUEST_BYTES_MAX]);
    assert!(say(&mesh, fleet.fingerprint(), largest).await.is_ok());
    let larger = Bytes::from(vec![b'x'; JOIN_REQUEST_BYTES_MAX + 1]);
    assert_eq!(say(&mesh, fleet.fingerprint(), larger).await, Err(JoinFault::TooLarge));
    assert_eq!(at.frames(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_so_many_newcomers_are_served_at_once() {
    let fleet = authority();
    let (mesh, _) = appliance(&fleet, A);
    let mut joining = tokio::task::JoinSet::new();
    for _ in 0..JOINS_MAX * 2 {
        let (mesh, fleet) = (Arc::clone(&mesh), fleet.fingerprint());
        joining.spawn(async move { say(&mesh, fleet, Bytes::from_static(b"slow")).await });
    }
    let (mut served, mut busy) = (0, 0);
    while let Some(joined) = joining.join_next().await {
        match joined.unwrap() {
            Ok(_) => served += 1,
            Err(JoinFault::Busy) => busy += 1,
            Err(fault) => panic!("{fault}"),
        }
    }
    assert_eq!((served, busy), (JOINS_MAX, JOINS_MAX));
    assert!(say(&mesh, fleet.fingerprint(), Bytes::new()).await.is_ok(), "and then the next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_the_address_is_told_as_that() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let wait = Duration::from_millis(300);
    let clock = TestClock::at(NOW);
    let said = join(address, authority().fingerprint(), Bytes::new(), clock, wait).await;
    assert_eq!(said, Err(JoinFault::Unreachable));
}
