//! The operator's door: an HTTP API on a root-only unix socket and, over TLS and with a token, on
//! TCP; and Prometheus metrics.
//!
//! Invariant: everything it shows or does goes through [`Operator`]; errors are problem+json (RFC
//! 9457) with what, where and what to do; every route is described at `/v1/openapi.json`. Absent on
//! purpose: private knowledge of volumes, stores or logs.

#![cfg_attr(any(test, feature = "testing"), allow(clippy::unwrap_used))]

mod addresses;
mod api;
mod balance;
mod files;
mod image;
mod listen;
mod operator;
mod scrub;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tls;
mod token;
mod views;

pub use addresses::{AddressMove, AddressView};
pub use api::router;
pub use balance::{
    BalancedDiskView, DrainPartView, DrainPlanView, FlowView, PaceView, RebalancePlanView,
    RebalanceRunView, RebalanceView,
};
pub use image::{ImageChange, ImageView, SIGNATURE_HEADER, SlotView, Upload};
pub use listen::{SocketFault, serve_metrics, serve_tls, serve_unix};
pub use operator::{Operator, Problem, ProblemKind};
pub use scrub::{DamageView, ScrubEnd, ScrubFile, ScrubFound, ScrubView, ScrubWanted};
pub use tls::{BadFingerprint, Fingerprint, Identity, connect};
pub use token::Token;
pub use views::{
    ChangeView, CheckView, CreateVolume, DeletedVolumeView, DiskView, DrainView, EventView,
    ExplainView, ExportView, FaultView, FleetView, ForwardsView, HeldView, InvitationView, Invite,
    JobView, Join, LabelsView, LedgerView, MemberView, OpenInvitationView, PinWanted, RemoteView,
    RemovalHow, RemovalView, StatusView, TokenView, Transfer, TransferTo, TrialView, Undelete,
    VolumeMembers, VolumePolicy, VolumeView, WhereView,
};
