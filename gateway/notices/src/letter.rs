//! A notice as it goes out: as JSON, and as the subject and the text of a mail.
//!
//! Invariant: two letters of one notice have the same key, whenever they go out; a subject is one
//! bounded line. Absent on purpose: headers, which the ways have.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use serde::Serialize;

use crate::desk::Delivery;
use crate::notice::{Number, Status, UNDELIVERED, cut, tidy};
use crate::when::WallTime;

/// What people call the appliance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct ApplianceName(String);

/// One notice, for one target.
pub(crate) struct Letter<'a> {
    appliance: &'a ApplianceName,
    delivery: &'a Delivery,
    /// With what is said of the target itself.
    details: BTreeMap<&'a str, String>,
}

/// The body of a webhook.
#[derive(Serialize)]
struct Body<'a> {
    subject: &'a str,
    job: &'a str,
    status: Status,
    message: &'a str,
    details: &'a BTreeMap<&'a str, String>,
    number: Number,
    time: WallTime,
    appliance: &'a ApplianceName,
}

impl ApplianceName {
    /// This name in one line, cut at 63 bytes.
    pub fn new(name: &str) -> Self {
        Self(tidy(name.to_owned(), NAME_BYTES_MAX))
    }

    /// The name of a notice among those of all appliances, in letters that every header takes.
    pub(crate) fn key(&self, number: Number) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let name: String = self.0.chars().map(plain).collect();
        format!("{name}-{number}")
    }
}

impl fmt::Display for ApplianceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'a> Letter<'a> {
    pub(crate) fn new(appliance: &'a ApplianceName, delivery: &'a Delivery) -> Self {
        let given = delivery.numbered.notice.details.iter();
        let mut details: BTreeMap<&str, String> =
            given.map(|(name, value)| (name.as_str(), value.clone())).collect();
        if delivery.undelivered > 0 {
            details.insert(UNDELIVERED, delivery.undelivered.to_string());
        }
        Self { appliance, delivery, details }
    }

    /// By which a receiver knows a notice that it has already.
    pub(crate) fn key(&self) -> String {
        self.appliance.key(self.delivery.numbered.number)
    }

    pub(crate) fn time(&self) -> WallTime {
        self.delivery.numbered.time
    }

    /// The body of a webhook.
    pub(crate) fn json(&self) -> Vec<u8> {
        let numbered = &self.delivery.numbered;
        let notice = &numbered.notice;
        let body = Body {
            subject: &notice.subject,
            job: &notice.job,
            status: notice.status,
            message: &notice.message,
            details: &self.details,
            number: numbered.number,
            time: numbered.time,
            appliance: self.appliance,
        };
        serde_json::to_vec(&body).expect("texts and numbers are always JSON")
    }

    /// The subject of a mail.
    pub(crate) fn subject(&self) -> String {
        let notice = &self.delivery.numbered.notice;
        let status = notice.status.word().to_uppercase();
        let (appliance, subject, message) = (self.appliance, &notice.subject, &notice.message);
        cut(format!("[holdfast {appliance}] {status} {subject}: {message}"), MAIL_SUBJECT_BYTES_MAX)
    }

    /// The text of a mail: the message, and a table of facts.
    pub(crate) fn text(&self) -> String {
        let numbered = &self.delivery.numbered;
        let notice = &numbered.notice;
        let mut text = format!("{}\n\n", notice.message);
        table(
            &mut text,
            &[
                ("subject", &notice.subject),
                ("status", notice.status.word()),
                ("job", &notice.job),
                ("appliance", &self.appliance.0),
                ("time", &numbered.time.to_string()),
                ("number", &numbered.number.to_string()),
            ],
        );
        if !self.details.is_empty() {
            text.push('\n');
            let rows: Vec<(&str, &str)> =
                self.details.iter().map(|(name, value)| (*name, value.as_str())).collect();
            table(&mut text, &rows);
        }
        text
    }
}

/// Rows with their values below one another.
fn table(text: &mut String, rows: &[(&str, &str)]) {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    for (name, value) in rows {
        writeln!(text, "{name:width$}  {value}").expect("a string takes everything");
    }
}

/// A host name's limit (RFC 1035 section 2.3.4), and that of `name` in the configuration.
const NAME_BYTES_MAX: usize = 63;
/// What programs show of a subject is shorter; the text has all of it.
const MAIL_SUBJECT_BYTES_MAX: usize = 240;

#[cfg(test)]
mod tests;
