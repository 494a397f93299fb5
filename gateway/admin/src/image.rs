//! The appliance image's boot files, as the API shows them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The bytes of an image as they come in.
pub type Upload = axum::body::Body;

/// The boot files of an appliance that runs from an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageView {
    /// The running program's version.
    pub version: String,
    /// The file that was booted, as it is called now.
    pub booted: Option<String>,
    /// All boot files, the newest first.
    pub slots: Vec<SlotView>,
    /// Why updates are refused; none if they are not.
    pub refuses: Option<String>,
}

/// A boot file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SlotView {
    /// Its name on the EFI partition.
    pub file: String,
    /// Its size.
    pub bytes: u64,
    /// `kept`: it has proved itself; `on trial`: it is booted once and kept if the appliance is
    /// well then; `failed`: it was booted and did not prove itself.
    pub state: String,
    /// Whether it is what runs now.
    pub running: bool,
}

/// What became of an update or a rollback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ImageChange {
    /// The file that is booted next.
    pub file: String,
    /// Whether the appliance restarts by itself now.
    pub restarts: bool,
}

/// In a request with an image: its minisign signature, the whole file in hex.
pub const SIGNATURE_HEADER: &str = "holdfast-signature";
