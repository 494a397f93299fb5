//! Credentials and verifiers: AUTH_NONE and AUTH_SYS (RFC 5531 sections 8 and 14).
//!
//! Invariant: a [`Credential::Sys`] is one whose body decoded; any other flavor is kept as its
//! number, so that the program can refuse it with the right word.
//!
//! Absent on purpose: squashing, look-ups of groups, and trust in what a client says of itself.

use std::fmt;
use std::ops::Deref;

use bytes::{Bytes, BytesMut};

use crate::xdr::{
    Decode, Encode, Malformed, Reader, opaque_bytes, put_length, put_opaque, wire_enum,
};

/// Which kind of credential; any number may come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AuthFlavor(pub u32);

impl AuthFlavor {
    /// No identity at all.
    pub const NONE: Self = Self(0);
    /// A uid and groups that the client asserts, formerly AUTH_UNIX.
    pub const SYS: Self = Self(1);
}

impl Encode for AuthFlavor {
    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
    }
}

impl Decode for AuthFlavor {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u32().map(Self)
    }
}

wire_enum! {
    /// Why a credential or a verifier is refused (`auth_stat`).
    pub enum AuthStat as "auth_stat" {
        BadCred = 1, "AUTH_BADCRED";
        RejectedCred = 2, "AUTH_REJECTEDCRED";
        BadVerf = 3, "AUTH_BADVERF";
        RejectedVerf = 4, "AUTH_REJECTEDVERF";
        TooWeak = 5, "AUTH_TOOWEAK";
        InvalidResp = 6, "AUTH_INVALIDRESP";
        Failed = 7, "AUTH_FAILED";
        KerbGeneric = 8, "AUTH_KERB_GENERIC";
        TimeExpire = 9, "AUTH_TIMEEXPIRE";
        TktFile = 10, "AUTH_TKT_FILE";
        Decode = 11, "AUTH_DECODE";
        NetAddr = 12, "AUTH_NET_ADDR";
        GssCredProblem = 13, "RPCSEC_GSS_CREDPROBLEM";
        GssCtxProblem = 14, "RPCSEC_GSS_CTXPROBLEM";
    }
}

/// On whose behalf a call is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// AUTH_NONE.
    None,
    /// AUTH_SYS.
    Sys(AuthSys),
    /// A flavor that this codec has no decoder for.
    Unsupported(AuthFlavor),
}

impl Credential {
    /// The flavor it came with.
    pub fn flavor(&self) -> AuthFlavor {
        match self {
            Self::None => AuthFlavor::NONE,
            Self::Sys(_) => AuthFlavor::SYS,
            Self::Unsupported(flavor) => *flavor,
        }
    }
}

/// What an AUTH_SYS credential says (`authsys_parms`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSys {
    /// An arbitrary number of the client; may differ when a call is sent again.
    pub stamp: u32,
    /// The client's name for itself, at most [`MACHINE_BYTES_MAX`] bytes, not necessarily text.
    pub machine: Bytes,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
    /// The supplementary groups.
    pub gids: Gids,
}

/// Up to [`GIDS_MAX`] supplementary groups, in the order of the wire, inline.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Gids {
    length: u8,
    gids: [u32; GIDS_MAX],
}

impl Gids {
    /// `None` if there are more than [`GIDS_MAX`].
    pub fn new(gids: &[u32]) -> Option<Self> {
        let mut all = [0; GIDS_MAX];
        all.get_mut(..gids.len())?.copy_from_slice(gids);
        Some(Self { length: u8::try_from(gids.len()).ok()?, gids: all })
    }
}

impl Deref for Gids {
    type Target = [u32];

    fn deref(&self) -> &[u32] {
        &self.gids[..usize::from(self.length)]
    }
}

impl fmt::Debug for Gids {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.iter()).finish()
    }
}

impl Encode for AuthSys {
    fn put(&self, out: &mut BytesMut) {
        self.stamp.put(out);
        put_opaque(out, &self.machine);
        self.uid.put(out);
        self.gid.put(out);
        put_length(out, self.gids.len());
        for gid in self.gids.iter() {
            gid.put(out);
        }
    }
}

impl Decode for AuthSys {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let stamp = reader.u32()?;
        let machine = reader.opaque(MACHINE_BYTES_MAX)?;
        let uid = reader.u32()?;
        let gid = reader.u32()?;
        let length = reader.array_items(GIDS_MAX, 4)?;
        let mut gids = [0; GIDS_MAX];
        for gid in &mut gids[..length] {
            *gid = reader.u32()?;
        }
        let length = u8::try_from(length).expect("GIDS_MAX fits in a byte");
        Ok(Self { stamp, machine, uid, gid, gids: Gids { length, gids } })
    }
}

/// The outer refusal is a message too short to answer, the inner one an answer.
pub(super) fn take_credential(
    reader: &mut Reader<'_>,
) -> Result<Result<Credential, AuthStat>, Malformed> {
    let flavor = AuthFlavor::take(reader)?;
    let Some(mut body) = take_auth_body(reader)? else {
        return Ok(Err(AuthStat::BadCred));
    };
    Ok(match flavor {
        // RFC 5531 section 10.1: the body should be empty, and is not to be looked at.
        AuthFlavor::NONE => Ok(Credential::None),
        AuthFlavor::SYS => {
            AuthSys::take(&mut body).map(Credential::Sys).map_err(|_| AuthStat::BadCred)
        }
        other => Ok(Credential::Unsupported(other)),
    })
}

/// AUTH_NONE and AUTH_SYS go with a verifier of AUTH_NONE; what goes with a flavor that we don't
/// know is not looked at.
pub(super) fn take_verifier(
    reader: &mut Reader<'_>,
    credential: &Credential,
) -> Result<Result<(), AuthStat>, Malformed> {
    let flavor = AuthFlavor::take(reader)?;
    let in_bounds = take_auth_body(reader)?.is_some();
    let goes_with = match credential {
        Credential::None | Credential::Sys(_) => flavor == AuthFlavor::NONE,
        Credential::Unsupported(_) => true,
    };
    Ok(if in_bounds && goes_with { Ok(()) } else { Err(AuthStat::BadVerf) })
}

/// `None` if the body is over its limit: an answer can still be sent.
fn take_auth_body<'a>(reader: &mut Reader<'a>) -> Result<Option<Reader<'a>>, Malformed> {
    match reader.opaque_reader(AUTH_BODY_BYTES_MAX) {
        Ok(body) => Ok(Some(body)),
        Err(Malformed::TooLong { .. }) => Ok(None),
        Err(malformed) => Err(malformed),
    }
}

pub(super) fn put_credential(out: &mut BytesMut, credential: &Credential) {
    credential.flavor().put(out);
    match credential {
        Credential::None | Credential::Unsupported(_) => put_length(out, 0),
        Credential::Sys(sys) => {
            put_length(out, 4 + opaque_bytes(sys.machine.len()) + 4 * (3 + sys.gids.len()));
            sys.put(out);
        }
    }
}

/// A verifier of AUTH_NONE: its flavor, and the length of its body.
pub(super) const EMPTY_VERIFIER: [u32; 2] = [AuthFlavor::NONE.0, 0];

/// The protocol's limit of the body of a credential or a verifier.
pub const AUTH_BODY_BYTES_MAX: usize = 400;

/// The protocol's limit of the name in an AUTH_SYS credential.
pub const MACHINE_BYTES_MAX: usize = 255;

/// The protocol's limit of groups in an AUTH_SYS credential.
pub const GIDS_MAX: usize = 16;
