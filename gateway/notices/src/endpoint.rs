//! Where a webhook is: its URL, taken apart.
//!
//! Invariant: an [`Endpoint`] can be asked; what can't be is refused with what would be right.
//! Absent on purpose: asking.

use std::net::IpAddr;

use hyper::Uri;
use hyper::http::uri::Scheme;

/// A URL of `http` or `https`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) security: Security,
    /// A name or an address, without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What the `Host` header says.
    pub(crate) authority: String,
    /// What the request line says.
    pub(crate) path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Security {
    Tls,
    None,
}

impl Endpoint {
    /// Takes a URL apart; the error says what is wrong with it and what would be right.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if url.len() > URL_BYTES_MAX {
            return Err(format!("has more than {URL_BYTES_MAX} bytes"));
        }
        let example = "write it like \"https://hooks.example.org/holdfast\"";
        let uri: Uri = url.parse().map_err(|fault| format!("is no URL ({fault}): {example}"))?;
        let security = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => Security::Tls,
            Some(scheme) if *scheme == Scheme::HTTP => Security::None,
            _ => return Err(format!("is not of http or https: {example}")),
        };
        let Some(authority) = uri.authority() else {
            return Err(format!("names no host: {example}"));
        };
        if authority.as_str().contains('@') {
            let instead = "put a token into a file and name that in token_file";
            return Err(format!("has a user or a password in it: {instead}"));
        }
        let bracketed = authority.host();
        let host = bracketed.trim_start_matches('[').trim_end_matches(']');
        let port = match authority.as_str().strip_prefix(bracketed).unwrap_or_default() {
            "" if security == Security::Tls => Some(443),
            "" => Some(80),
            after => after.strip_prefix(':').and_then(|digits| digits.parse().ok()),
        };
        let Some(port) = port.filter(|port| !host.is_empty() && *port != 0) else {
            return Err(format!("names no host and port: {example}"));
        };
        let path = uri.path_and_query().map_or("", |path| path.as_str());
        // `http://a?b` is allowed, and a request line without a path is not.
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            security,
            host: host.to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: format!("{slash}{path}"),
        })
    }
}

/// Whether nobody can listen on the way to this host.
pub(crate) fn is_this_machine(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// More than any service hands out.
const URL_BYTES_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let endpoint = |url: &str| Endpoint::parse(url).unwrap();
        let full = endpoint("https://hooks.example.org:8443/a/b?c=d#e");
        assert_eq!((full.host.as_str(), full.port), ("hooks.example.org", 8443));
        assert_eq!(full.authority, "hooks.example.org:8443");
        assert_eq!(full.path, "/a/b?c=d");
        let bare = endpoint("HTTP://10.0.0.1");
        assert_eq!((bare.security, bare.port, bare.path.as_str()), (Security::None, 80, "/"));
        let six = endpoint("https://[::1]");
        assert_eq!((six.host.as_str(), six.port, six.authority.as_str()), ("::1", 443, "[::1]"));
        assert_eq!(endpoint("http://a?token=1").path, "/?token=1");
    }

    #[test]
    fn what_can_t_be_asked_is_refused() {
        let long = format!("https://a/{}", "x".repeat(URL_BYTES_MAX));
        for url in [
            "",
            "a b",
            "/hook",
            "hooks.example.org",
            "ftp://hooks.example.org/",
            "https://",
            "https://:80/",
            "https://a:99999/",
            "https://a:0/",
            "https://a:/",
            "https://user:secret@hooks.example.org/",
            "https://a/\r\nx-evil: 1",
            &long,
        ] {
            assert!(Endpoint::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["localhost.example.org", "10.0.0.1", "::", "0.0.0.0"] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
