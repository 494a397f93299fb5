//! What the configuration says of notices, as data.
//!
//! Invariant: settings that were checked can be tried; every fault names the entry, the key, and
//! what would be right. Absent on purpose: secrets; they are in files, which are read at the start.

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use rustls::pki_types::ServerName;
use serde::Deserialize;
use thiserror::Error;

use crate::desk::Pace;
use crate::endpoint::{Endpoint, Security, is_this_machine};
use crate::notice::Status;

/// `[notify]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Seconds after a notice was sent in which the same one is counted and not sent again.
    pub quiet_s: u64,
    /// `[[notify.webhook]]`, at most 8.
    #[serde(rename = "webhook")]
    pub webhooks: Vec<Webhook>,
    /// `[[notify.mail]]`, at most 8.
    #[serde(rename = "mail")]
    pub mails: Vec<Mail>,
}

/// `[[notify.webhook]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where to, over `http://` or `https://`. Redirects are not followed.
    pub url: String,
    /// What is less bad is not sent.
    #[serde(default = "warning")]
    pub least: Status,
    /// A file with the key that signs the body with HMAC-SHA256 (RFC 2104); empty is no signature.
    #[serde(default)]
    pub secret_file: PathBuf,
    /// A file with a bearer token (RFC 6750); empty is none. Not over `http://` to other machines.
    #[serde(default)]
    pub token_file: PathBuf,
    /// A file with certificates (PEM) to believe instead of the system's; empty is the system's.
    #[serde(default)]
    pub ca_file: PathBuf,
}

/// `[[notify.mail]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// The relay's host name or address.
    pub relay: String,
    /// Its port.
    #[serde(default = "submission_port")]
    pub port: u16,
    /// How the way to it is protected.
    #[serde(default)]
    pub tls: Tls,
    /// Who we are there; empty is nobody.
    #[serde(default)]
    pub user: String,
    /// A file with the user's password.
    #[serde(default)]
    pub password_file: PathBuf,
    /// A file with certificates (PEM) to believe instead of the system's; empty is the system's.
    #[serde(default)]
    pub ca_file: PathBuf,
    /// The sender: `holdfast@example.org` or `Holdfast <holdfast@example.org>`.
    pub from: String,
    /// Who gets it, 1 to 16, each as in `from`.
    pub to: Vec<String>,
    /// What is less bad is not sent.
    #[serde(default = "warning")]
    pub least: Status,
}

/// How the way to a mail relay is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tls {
    /// By STARTTLS (RFC 3207), without which nothing is sent.
    #[default]
    Starttls,
    /// By TLS from the first byte on (RFC 8314), usually on port 465.
    Implicit,
    /// By nothing, for a relay on this machine; a warning at the start says so.
    Plain,
}

/// What is wrong with the settings; the appliance does not start.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{key}: {reason}")]
pub struct BadSetting {
    /// Which key, such as `[[notify.mail]] 2: relay`; entries are counted from 1.
    pub key: String,
    /// What is wrong and what would be right.
    pub reason: String,
}

/// A fault of one entry: its key, and what is wrong.
pub(crate) type Fault = (&'static str, String);

/// Which entry, for people.
#[derive(Clone, Copy)]
pub(crate) enum Entry {
    Webhook(usize),
    Mail(usize),
}

impl Entry {
    pub(crate) fn bad(self, (key, reason): Fault) -> BadSetting {
        let key = match self {
            Self::Webhook(index) => format!("[[notify.webhook]] {}: {key}", index + 1),
            Self::Mail(index) => format!("[[notify.mail]] {}: {key}", index + 1),
        };
        BadSetting { key, reason }
    }
}

impl Settings {
    /// Whether they can be tried, as far as that can be told without files and network.
    ///
    /// # Errors
    /// [`BadSetting`] for the first fault; show it to whoever wrote the settings.
    pub fn check(&self) -> Result<(), BadSetting> {
        let bad = |key: &str, reason: String| BadSetting { key: key.to_owned(), reason };
        if self.quiet_s > QUIET_S_MAX {
            return Err(bad("notify.quiet_s", format!("must be at most {QUIET_S_MAX}, a week")));
        }
        for (key, count) in
            [("[[notify.webhook]]", self.webhooks.len()), ("[[notify.mail]]", self.mails.len())]
        {
            if count > TARGETS_MAX {
                return Err(bad(key, format!("has {count} entries; at most {TARGETS_MAX}")));
            }
        }
        for (index, webhook) in self.webhooks.iter().enumerate() {
            webhook.check().map_err(|fault| Entry::Webhook(index).bad(fault))?;
        }
        for (index, mail) in self.mails.iter().enumerate() {
            mail.check().map_err(|fault| Entry::Mail(index).bad(fault))?;
        }
        Ok(())
    }

    /// How long things take; `quiet_s` is all that can be set.
    pub fn pace(&self) -> Pace {
        Pace { quiet: Duration::from_secs(self.quiet_s), ..Pace::default() }
    }
}

impl Webhook {
    pub(crate) fn endpoint(&self) -> Result<Endpoint, Fault> {
        Endpoint::parse(&self.url).map_err(|reason| ("url", reason))
    }

    fn check(&self) -> Result<(), Fault> {
        let endpoint = self.endpoint()?;
        if endpoint.security == Security::Tls {
            return server_name(&endpoint.host).map(drop).map_err(|reason| ("url", reason));
        }
        if is_set(&self.ca_file) {
            return Err(("ca_file", "is of no use with http: use https, or leave it out".into()));
        }
        if is_set(&self.token_file) && !is_this_machine(&endpoint.host) {
            let reason = "everybody on the way could read the token: use https";
            return Err(("token_file", reason.to_owned()));
        }
        Ok(())
    }
}

impl Mail {
    pub(crate) fn sender(&self) -> Result<Mailbox, Fault> {
        mailbox(&self.from).map_err(|reason| ("from", reason))
    }

    pub(crate) fn recipients(&self) -> Result<Vec<Mailbox>, Fault> {
        let mailboxes: Result<_, _> = self.to.iter().map(|to| mailbox(to)).collect();
        mailboxes.map_err(|reason| ("to", reason))
    }

    fn check(&self) -> Result<(), Fault> {
        server_name(&self.relay).map_err(|reason| ("relay", reason))?;
        if self.port == 0 {
            return Err(("port", "is not 0: most relays take mail at 587".to_owned()));
        }
        self.sender()?;
        if self.to.is_empty() || self.to.len() > RECIPIENTS_MAX {
            return Err(("to", format!("must have 1 to {RECIPIENTS_MAX} addresses")));
        }
        self.recipients()?;
        if self.user.len() > USER_BYTES_MAX || self.user.contains(char::is_control) {
            return Err(("user", format!("must be one line of at most {USER_BYTES_MAX} bytes")));
        }
        match (self.user.is_empty(), is_set(&self.password_file)) {
            (false, false) => return Err(("password_file", "a user needs a password".to_owned())),
            (true, true) => return Err(("user", "whose password is it?".to_owned())),
            (true, false) | (false, true) => {}
        }
        if self.tls != Tls::Plain {
            return Ok(());
        }
        if is_set(&self.ca_file) {
            let reason = "is of no use with tls = \"plain\": use \"starttls\", or leave it out";
            return Err(("ca_file", reason.to_owned()));
        }
        if !self.user.is_empty() && !is_this_machine(&self.relay) {
            let reason = "everybody on the way could read the password: use \"starttls\"";
            return Err(("tls", reason.to_owned()));
        }
        Ok(())
    }
}

pub(crate) fn is_set(path: &std::path::Path) -> bool {
    !path.as_os_str().is_empty()
}

/// A name that a certificate can have.
pub(crate) fn server_name(host: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is no host name or address, such as \"mail.example.org\""))
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    let mailbox: Mailbox = text.parse().map_err(|fault| {
        format!("{text:?} is no address ({fault}): write it like \"admin@example.org\"")
    })?;
    // RFC 6531 has others, and many relays don't take them.
    let address: &str = mailbox.email.as_ref();
    if !address.is_ascii() || address.len() > ADDRESS_BYTES_MAX || text.contains(char::is_control) {
        return Err(format!("{text:?} has letters that not every relay takes, or too many"));
    }
    Ok(mailbox)
}

impl Default for Settings {
    fn default() -> Self {
        let quiet_s = Pace::default().quiet.as_secs();
        Self { quiet_s, webhooks: Vec::new(), mails: Vec::new() }
    }
}

fn warning() -> Status {
    Status::Warning
}

/// Message submission (RFC 6409).
fn submission_port() -> u16 {
    587
}

/// Entries of each kind: people, a chat, a pager or two.
const TARGETS_MAX: usize = 8;
/// A list of people is the relay's to keep.
const RECIPIENTS_MAX: usize = 16;
/// A path of RFC 5321 section 4.5.3.1.3.
const ADDRESS_BYTES_MAX: usize = 254;
const USER_BYTES_MAX: usize = 254;
/// A week: what is quiet for longer is silent.
const QUIET_S_MAX: u64 = 7 * 24 * 3600;

#[cfg(test)]
mod tests;
