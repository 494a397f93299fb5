use std::{sync::Arc, time::Duration};

use model::ApplianceId;

use super::Views;
use crate::{
    Role,
    testing::{group, index, term},
};

#[test]
fn a_watcher_sees_the_group_closed_and_open_again() {
    let views = Views::default();
    let watched = views.of(group(1));
    let ours = views.of(group(1));
    let role = Role { leader: Some(ApplianceId::new(3)), term: term(2), leads: true };
    ours.set_role(role);
    ours.set_lease(Duration::MAX);
    ours.set_log(index(4), index(5));
    assert_eq!((watched.leader(), watched.term(), watched.leads()), (role.leader, term(2), true));
    assert_eq!((watched.commit(), watched.last()), (index(4), index(5)));
    assert!(watched.read_lease_until() > Duration::from_secs(1 << 30));
    views.closed(group(1), ours);
    assert_eq!((watched.leader(), watched.leads()), (None, false));
    assert_eq!(watched.read_lease_until(), Duration::ZERO);
    assert!(Arc::ptr_eq(&watched, &views.of(group(1))));
}

#[test]
fn a_closed_group_that_nobody_watches_is_forgotten() {
    let views = Views::default();
    let view = views.of(group(1));
    views.closed(group(1), view);
    assert!(views.0.lock().is_empty());
}
