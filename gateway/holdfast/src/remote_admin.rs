//! The admin API over TCP: what opens it and what it shows, in `<root>/admin`.

use std::path::Path;
use std::sync::Arc;

use admin::{Identity, Operator, RemoteView, Token};
use model::Entropy;

use crate::config::Config;

/// The way in for operators on other machines.
pub struct RemoteAdmin {
    /// What opens it.
    pub token: Token,
    door: Option<(std::net::SocketAddr, Identity)>,
}

impl RemoteAdmin {
    /// Reads the token, and the certificate if it is needed; makes them the first time.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn open(config: &Config, root: &Path, entropy: &dyn Entropy) -> Result<Self, String> {
        let dir = root.join("admin");
        let in_dir = |e: std::io::Error| format!("{}: {e}", dir.display());
        let token = match Token::parse(&config.admin.token) {
            Some(token) => token,
            None => Token::open(&dir, entropy).map_err(in_dir)?,
        };
        let door = match config.admin.remote()? {
            Some(listen) => Some((listen, Identity::open(&dir, &names(config)).map_err(in_dir)?)),
            None => None,
        };
        Ok(Self { token, door })
    }

    /// What `holdfast status` says of it.
    pub fn view(&self) -> Option<RemoteView> {
        self.door.as_ref().map(|(listen, identity)| RemoteView {
            listen: listen.to_string(),
            fingerprint: identity.fingerprint().to_string(),
        })
    }

    /// Opens it, if the configuration says so.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn serve<O: Operator>(&self, operator: Arc<O>) -> Result<(), String> {
        if let Some((listen, identity)) = &self.door {
            admin::serve_tls(*listen, identity, self.token.clone(), operator)
                .await
                .map_err(|e| format!("admin.listen: {listen}: {e}"))?;
        }
        Ok(())
    }
}

/// What the certificate names, for programs that compare: where this appliance may be reached.
fn names(config: &Config) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let is_host = |name: &str| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if is_host(&config.name) {
        names.push(config.name.clone());
    }
    let advertised = config.mesh.advertise.iter().map(|address| address.ip());
    let listen = config.admin.remote().ok().flatten().map(|address| address.ip());
    let ips = advertised.chain(listen.filter(|ip| !ip.is_unspecified()));
    names.extend(ips.map(|ip| ip.to_string()));
    names.sort_unstable();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use admin::testing::Counting;

    use super::*;

    #[test]
    fn a_token_is_made_at_the_first_start_and_a_certificate_only_for_a_door() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.toml");
        let config = |more: &str| {
            std::fs::write(&file, format!("root = \"/x\"\nname = \"ada l\"\n{more}")).unwrap();
            Config::read(&file).unwrap()
        };
        let closed = RemoteAdmin::open(&config(""), dir.path(), &Counting::default()).unwrap();
        assert!(closed.view().is_none());
        assert!(dir.path().join("admin/token").exists());
        assert!(!dir.path().join("admin/key.pem").exists());
        let more = "[admin]\nlisten = \"127.0.0.1:2051\"\n";
        let open = RemoteAdmin::open(&config(more), dir.path(), &Counting::default()).unwrap();
        let view = open.view().unwrap();
        assert_eq!((view.listen.as_str(), view.fingerprint.len()), ("127.0.0.1:2051", 64));
        assert_eq!(open.token.as_str(), closed.token.as_str());
        assert_eq!(names(&config(more)), ["127.0.0.1", "localhost"]);
    }
}
