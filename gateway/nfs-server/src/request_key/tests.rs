use bytes::Bytes;
use nfs_wire::Xid;
use nfs_wire::rpc::{AuthSys, Gids};

use super::*;

fn call() -> Call {
    Call {
        xid: Xid(7),
        program: nfs_wire::nfs3::PROGRAM,
        version: 3,
        procedure: Procedure::Remove.code(),
        credential: Credential::Sys(AuthSys {
            stamp: 1,
            machine: Bytes::from_static(b"ada"),
            uid: 10,
            gid: 20,
            gids: Gids::new(&[1, 2]).unwrap(),
        }),
        args: Bytes::from(vec![3; 300]),
    }
}

fn key(call: &Call) -> RequestKey {
    request_key("10.0.0.1".parse().unwrap(), call)
}

fn with_sys(change: impl Fn(&mut AuthSys)) -> Call {
    let mut changed = call();
    if let Credential::Sys(sys) = &mut changed.credential {
        change(sys);
    }
    changed
}

#[test]
fn a_resend_with_another_stamp_and_machine_name_has_the_same_key() {
    let resent = with_sys(|sys| {
        sys.stamp = 99;
        sys.machine = Bytes::from_static(b"other");
    });
    assert_eq!(key(&resent), key(&call()));
}

#[test]
fn a_call_that_differs_in_anything_that_counts_has_another_key() {
    let mut others = vec![
        with_sys(|sys| sys.uid = 11),
        with_sys(|sys| sys.gid = 21),
        with_sys(|sys| sys.gids = Gids::new(&[1]).unwrap()),
        Call { xid: Xid(8), ..call() },
        Call { procedure: Procedure::Rmdir.code(), ..call() },
        Call { credential: Credential::None, ..call() },
        Call { args: Bytes::from(vec![3; 301]), ..call() },
    ];
    let mut args = vec![3; 300];
    args[255] = 4;
    others.push(Call { args: args.into(), ..call() });
    for other in others {
        assert_ne!(key(&other), key(&call()), "{other:?}");
    }
    assert_ne!(request_key("10.0.0.2".parse().unwrap(), &call()), key(&call()));
}

#[test]
fn a_client_has_one_key_over_ipv4_and_over_ipv4_mapped_into_ipv6() {
    let mapped = request_key("::ffff:10.0.0.1".parse().unwrap(), &call());
    assert_eq!(mapped, key(&call()));
}
