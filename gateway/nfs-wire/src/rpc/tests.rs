use bytes::BufMut;

use super::*;
use crate::xdr::put_opaque;

const SYS_BODY: &[u32] = &[7, 0, 1000, 100, 2, 10, 20];

fn words(out: &mut BytesMut, words: &[u32]) {
    words.iter().for_each(|word| out.put_u32(*word));
}

fn auth(flavor: u32, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    out.put_u32(flavor);
    put_opaque(&mut out, body);
    out.to_vec()
}

fn bytes_of(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn call_with(credential: &[u8], verifier: &[u8]) -> Bytes {
    let mut out = BytesMut::new();
    words(&mut out, &[99, MESSAGE_CALL, RPC_VERSION, 100_003, 3, 1]);
    out.put_slice(credential);
    out.put_slice(verifier);
    out.put_slice(b"args");
    out.freeze()
}

fn refused(stat: AuthStat) -> Result<Call, BadCall> {
    Err(BadCall::Refused { xid: Xid(99), refusal: Refusal::AuthError(stat) })
}

#[test]
fn a_call_with_auth_sys_is_parsed() {
    let record = call_with(&auth(1, &bytes_of(SYS_BODY)), &auth(0, b""));
    let sys = AuthSys {
        stamp: 7,
        machine: Bytes::new(),
        uid: 1000,
        gid: 100,
        gids: Gids::new(&[10, 20]).unwrap(),
    };
    let call = Call {
        xid: Xid(99),
        program: 100_003,
        version: 3,
        procedure: 1,
        credential: Credential::Sys(sys),
        args: Bytes::from_static(b"args"),
    };
    assert_eq!(Call::parse(&record), Ok(call));
}

#[test]
fn arguments_share_the_memory_of_the_record() {
    let record = call_with(&auth(0, b""), &auth(0, b""));
    let call = Call::parse(&record).unwrap();
    assert_eq!(call.args.as_ptr(), record[record.len() - 4..].as_ptr());
}

#[test]
fn what_is_no_call_has_nobody_to_answer() {
    let reply = Bytes::from(bytes_of(&[99, MESSAGE_REPLY, RPC_VERSION, 1, 1, 1]));
    assert_eq!(Call::parse(&reply), Err(BadCall::Unanswerable));
    assert_eq!(Call::parse(&Bytes::new()), Err(BadCall::Unanswerable));
}

#[test]
fn another_version_of_rpc_is_told_ours() {
    let record = Bytes::from(bytes_of(&[99, MESSAGE_CALL, 3]));
    let refusal = Refusal::RpcMismatch { low: 2, high: 2 };
    assert_eq!(Call::parse(&record), Err(BadCall::Refused { xid: Xid(99), refusal }));
}

#[test]
fn another_flavor_is_left_to_the_program() {
    let record = call_with(&auth(6, &[1; 20]), &auth(6, &[2; 24]));
    let call = Call::parse(&record).unwrap();
    assert_eq!(call.credential, Credential::Unsupported(AuthFlavor(6)));
    assert_eq!(call.credential.flavor(), AuthFlavor(6));
}

#[test]
fn the_body_of_auth_none_is_not_looked_at() {
    let record = call_with(&auth(0, b"anything"), &auth(0, b"else"));
    assert_eq!(Call::parse(&record).unwrap().credential, Credential::None);
}

#[test]
fn a_credential_over_400_bytes_is_a_bad_credential() {
    let record = call_with(&auth(1, &[0; 401]), &auth(0, b""));
    assert_eq!(Call::parse(&record), refused(AuthStat::BadCred));
}

#[test]
fn a_claimed_credential_of_4_gib_is_a_bad_credential() {
    let record = call_with(&bytes_of(&[1, u32::MAX]), &auth(0, b""));
    assert_eq!(Call::parse(&record), refused(AuthStat::BadCred));
}

#[test]
fn sixteen_groups_pass_and_seventeen_are_a_bad_credential() {
    for groups in 0..=18_u32 {
        let gids: Vec<u32> = (0..groups).collect();
        let body = bytes_of(&[&[7, 0, 1, 1, groups], &gids[..]].concat());
        let parsed = Call::parse(&call_with(&auth(1, &body), &auth(0, b"")));
        match parsed {
            Ok(Call { credential: Credential::Sys(sys), .. }) => assert_eq!(sys.gids[..], gids),
            other => {
                assert!(groups > 16, "{groups} groups");
                assert_eq!(other, refused(AuthStat::BadCred));
            }
        }
    }
}

#[test]
fn a_machine_name_over_255_bytes_is_a_bad_credential() {
    for (length, passes) in [(255, true), (256, false)] {
        let mut body = BytesMut::new();
        body.put_u32(7);
        put_opaque(&mut body, &vec![b'a'; length]);
        words(&mut body, &[1, 1, 0]);
        let parsed = Call::parse(&call_with(&auth(1, &body), &auth(0, b"")));
        assert_eq!(parsed.is_ok(), passes);
    }
}

#[test]
fn a_credential_that_ends_early_is_a_bad_credential() {
    let body = bytes_of(SYS_BODY);
    for length in (0..body.len()).step_by(4) {
        let record = call_with(&auth(1, &body[..length]), &auth(0, b""));
        assert_eq!(Call::parse(&record), refused(AuthStat::BadCred));
    }
}

#[test]
fn a_verifier_that_does_not_go_with_the_credential_is_a_bad_verifier() {
    for credential in [auth(0, b""), auth(1, &bytes_of(SYS_BODY))] {
        let record = call_with(&credential, &auth(1, b""));
        assert_eq!(Call::parse(&record), refused(AuthStat::BadVerf));
        let record = call_with(&credential, &auth(0, &[0; 401]));
        assert_eq!(Call::parse(&record), refused(AuthStat::BadVerf));
    }
}

#[test]
fn more_than_sixteen_groups_make_no_gids() {
    assert_eq!(Gids::new(&[1; 17]), None);
    assert_eq!(Gids::new(&[1; 16]).unwrap()[..], [1; 16]);
}

#[test]
fn bad_arguments_have_their_refusal() {
    assert_eq!(BadArgs::UnknownProcedure.refusal(), Refusal::ProcUnavail);
    assert_eq!(BadArgs::from(Malformed::Short).refusal(), Refusal::GarbageArgs);
}

#[test]
fn the_largest_header_is_as_large_as_promised() {
    let mut body = BytesMut::new();
    body.put_bytes(0, AUTH_BODY_BYTES_MAX);
    let record = call_with(&auth(6, &body), &auth(6, &body));
    assert_eq!(record.len() - b"args".len(), CALL_HEADER_BYTES_MAX);
    assert!(Call::parse(&record).is_ok());
}
