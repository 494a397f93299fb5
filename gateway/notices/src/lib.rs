//! What a person must know reaches a person: notices, listed and sent as webhooks and mails.
//!
//! Invariant: telling never waits and never fails; each target gets its notices in the order of
//! their numbers, whatever the others do; what a limit or a refusal takes away is counted, logged,
//! and said in the next notice that gets through. Absent on purpose: what is worth telling, files
//! of its own (a restart forgets), and templates.
//!
//! [`Desk`] decides, without IO, clock or chance; [`Notifier`] does what it says.
//!
//! ```toml
//! [notify]
//! quiet_s = 600                     # so long the same notice is counted, not sent again
//!
//! [[notify.webhook]]                # at most 8
//! url = "https://hooks.example.org/holdfast"
//! least = "warning"                 # "good", "info", "warning" or "error"
//! secret_file = ""                  # signs: X-Holdfast-Signature: sha256=HEX
//! token_file = ""                   # shown: Authorization: Bearer TOKEN
//! ca_file = ""                      # believe these certificates (PEM) instead of the system's
//!
//! [[notify.mail]]                   # at most 8
//! relay = "mail.example.org"
//! port = 587
//! tls = "starttls"                  # or "implicit" (port 465), or "plain" for a relay right here
//! user = ""
//! password_file = ""
//! ca_file = ""
//! from = "Holdfast <holdfast@example.org>"
//! to = ["admin@example.org"]        # at most 16
//! least = "error"
//! ```
//!
//! A webhook is a POST of one JSON object, `subject`, `job`, `status`, `message`, `details`,
//! `number`, `time` and `appliance`; any 2xx takes it, any 4xx but 408 and 429 refuses it for good,
//! and everything else, a redirect too, is tried again for a day. The same notice may arrive twice
//! if an answer was lost: its `Idempotency-Key`, or its mail's `Message-ID`, is the same then.

mod desk;
mod driver;
mod endpoint;
mod letter;
mod metric;
mod notice;
mod settings;
mod when;

pub use desk::{Chance, Delivery, Desk, Effect, Event, Loss, Outcome, Pace, TargetState};
pub use desk::{NEWEST_MAX, QUEUE_MAX, Target};
pub use driver::{Notifier, Running, TargetView, Targets, Trial, TrialOutcome};
pub use letter::ApplianceName;
pub use metric::names;
pub use notice::{
    DETAIL_BYTES_MAX, DETAIL_NAME_BYTES_MAX, DETAILS_MAX, JOB_BYTES_MAX, MESSAGE_BYTES_MAX, Notice,
    Number, Numbered, SUBJECT_BYTES_MAX, SUPPRESSED, Status, Told, UNDELIVERED,
};
pub use settings::{BadSetting, Mail, Settings, Tls, Webhook};
pub use when::{Moment, Now, WallTime};
