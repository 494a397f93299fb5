//! The way to a mail relay: one conversation in SMTP (RFC 5321, submission as in RFC 6409).
//!
//! Invariant: nothing but greetings crosses the network before TLS, unless the settings say
//! `plain`; a mail goes to every recipient that the relay takes, so that one bad address silences
//! nobody. Absent on purpose: queues, which the desk has; finding relays by DNS.

use std::time::{Duration, SystemTime};

use lettre::message::header::{Header, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message, SinglePart};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as MailFrom, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tracing::warn;

use super::bounded::{Ahead, Bounded};
use super::trust::Trust;
use super::{Ended, files};
use crate::desk::Outcome;
use crate::letter::Letter;
use crate::settings::{Fault, Mail, Tls, server_name};

pub(super) struct MailWay {
    relay: String,
    port: u16,
    guard: Guard,
    credentials: Option<Credentials>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

enum Guard {
    Starttls(Box<TlsParameters>),
    Implicit(TlsConnector, ServerName<'static>),
    Plain,
}

/// Why a mail was not taken.
enum Stop {
    /// The relay could not be reached, or would not have us; or later, it says.
    Later(String),
    /// This mail is not wanted there.
    Never(String),
}

impl MailWay {
    pub(super) fn open(mail: &Mail) -> Result<Self, Fault> {
        let guard = match mail.tls {
            Tls::Plain => Guard::Plain,
            Tls::Starttls => {
                Guard::Starttls(Box::new(Trust::open(&mail.ca_file)?.starttls(&mail.relay)?))
            }
            Tls::Implicit => {
                let name = server_name(&mail.relay).map_err(|reason| ("relay", reason))?;
                Guard::Implicit(Trust::open(&mail.ca_file)?.connector(None)?, name)
            }
        };
        let mut credentials = None;
        if !mail.user.is_empty() {
            let password =
                files::secret(&mail.password_file).map_err(|reason| ("password_file", reason))?;
            credentials = Some(Credentials::new(mail.user.clone(), password));
        }
        Ok(Self {
            relay: mail.relay.clone(),
            port: mail.port,
            guard,
            credentials,
            from: mail.sender()?,
            to: mail.recipients()?,
        })
    }

    /// Tries once.
    pub(super) async fn deliver(&self, letter: &Letter<'_>, wait: Duration) -> Ended {
        let stop = match tokio::time::timeout(wait, self.converse(letter)).await {
            Ok(Ok(())) => {
                return Ended { outcome: Outcome::Delivered, reason: String::new() };
            }
            Ok(Err(stop)) => stop,
            Err(_) => Stop::Later(format!("no end within {wait:?}")),
        };
        match stop {
            Stop::Later(reason) => Ended::failed(reason),
            Stop::Never(reason) => Ended { outcome: Outcome::Refused, reason },
        }
    }

    async fn converse(&self, letter: &Letter<'_>) -> Result<(), Stop> {
        let message = self.compose(letter).map_err(Stop::Never)?;
        let mut relay = self.connect().await.map_err(Stop::Later)?;
        let mail = MailFrom::new(Some(self.from.email.clone()), Vec::new());
        relay.command(mail).await.map_err(Stop::of)?;
        let (mut taken, mut stops) = (0, Vec::new());
        for to in &self.to {
            match relay.command(Rcpt::new(to.email.clone(), Vec::new())).await {
                Ok(_) => taken += 1,
                Err(fault) => stops.push((to, Stop::of(fault))),
            }
        }
        if taken == 0 {
            // One that may be taken later is reason enough to try again.
            let later = stops.iter().position(|(_, stop)| matches!(stop, Stop::Later(_)));
            return Err(stops.swap_remove(later.unwrap_or(0)).1);
        }
        relay.command(Data).await.map_err(Stop::of)?;
        relay.message(&message).await.map_err(Stop::of)?;
        for (to, stop) in stops {
            let (Stop::Later(reason) | Stop::Never(reason)) = stop;
            warn!(to = %to.email, reason, "the relay took a mail for others and not for this one");
        }
        // It was taken; how the conversation ends says nothing.
        let _ = relay.quit().await;
        Ok(())
    }

    /// A connection on which mails are taken. What goes wrong here is not about one mail.
    async fn connect(&self) -> Result<AsyncSmtpConnection, String> {
        let hello = ClientId::default();
        let stream = TcpStream::connect((self.relay.as_str(), self.port));
        let stream = stream.await.map_err(|fault| fault.to_string())?;
        let peer = stream.peer_addr().map_err(|fault| fault.to_string())?;
        let said = |fault: SmtpError| fault.to_string();
        let most = CONVERSATION_BYTES_MAX;
        let stream: Box<dyn AsyncTokioStream> = match &self.guard {
            Guard::Implicit(connector, name) => {
                let stream = connector.connect(name.clone(), stream).await;
                let stream = stream.map_err(|fault| fault.to_string())?;
                Box::new(Bounded::new(stream, peer, most, Ahead::Far))
            }
            Guard::Starttls(_) => Box::new(Bounded::new(stream, peer, most, Ahead::Not)),
            Guard::Plain => Box::new(Bounded::new(stream, peer, most, Ahead::Far)),
        };
        let mut relay =
            AsyncSmtpConnection::connect_with_transport(stream, &hello).await.map_err(said)?;
        if let Guard::Starttls(parameters) = &self.guard {
            relay.starttls((**parameters).clone(), &hello).await.map_err(said)?;
        }
        if let Some(credentials) = &self.credentials {
            relay.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await.map_err(said)?;
        }
        Ok(relay)
    }

    /// The mail as it is sent (RFC 5322): lines of ASCII, whatever is in it.
    fn compose(&self, letter: &Letter<'_>) -> Result<Vec<u8>, String> {
        let id = format!("<{}@{}>", letter.key(), self.from.email.domain());
        let time: SystemTime = letter.time().as_system_time();
        let mut builder = Message::builder()
            .message_id(Some(id))
            .date(time)
            .from(self.from.clone())
            .subject(letter.subject())
            .header(AutoSubmitted);
        for to in &self.to {
            builder = builder.to(to.clone());
        }
        let message = builder.singlepart(SinglePart::plain(letter.text()));
        message.map(|message| message.formatted()).map_err(|fault| fault.to_string())
    }
}

impl Stop {
    fn of(fault: SmtpError) -> Self {
        match fault.is_permanent() {
            true => Self::Never(fault.to_string()),
            false => Self::Later(fault.to_string()),
        }
    }
}

/// Asks programs not to answer (RFC 3834 section 5).
#[derive(Clone)]
struct AutoSubmitted;

impl Header for AutoSubmitted {
    fn name() -> HeaderName {
        HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> HeaderValue {
        HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

/// All that a relay says in one conversation, with its certificates: some KiB. An answer of many
/// lines is parsed anew with each of them, so more would cost time, too.
const CONVERSATION_BYTES_MAX: usize = 64 << 10;
