//! `[fleet]`: which fleet an appliance founds or joins by itself.

use std::net::SocketAddr;

use ::mesh::FleetToken;
use serde::Deserialize;

use super::Mesh;

/// `[fleet]`
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Together {
    /// What all appliances of the fleet have in their configurations; empty is no such fleet.
    pub token: String,
    /// Whether this one founds it, if nobody has.
    pub found: bool,
    /// Others of the fleet, asked in turn.
    pub join: Vec<String>,
}

impl Together {
    /// The token, if there is one.
    ///
    /// # Errors
    /// It is none.
    pub fn token(&self) -> Result<Option<FleetToken>, String> {
        if self.token.is_empty() {
            return Ok(None);
        }
        let token = self.token.parse().map_err(|bad| format!("token: {bad}"));
        token.map(Some)
    }

    /// Where others of the fleet may be.
    ///
    /// # Errors
    /// One is no address.
    pub fn peers(&self) -> Result<Vec<SocketAddr>, String> {
        let parse = |text: &String| {
            let bad = |_| format!("join: {text:?} is no address and port, such as 10.0.0.5:2050");
            text.parse().map_err(bad)
        };
        self.join.iter().map(parse).collect()
    }

    pub(super) fn check(&self, mesh: &Mesh) -> Result<(), String> {
        let token = self.token()?;
        let peers = self.peers()?;
        if peers.len() > PEERS_MAX {
            return Err(format!("join: at most {PEERS_MAX} addresses"));
        }
        match (token, self.found || !peers.is_empty()) {
            (Some(_), true) => mesh.addresses().map(|_| ()),
            (None, false) => Ok(()),
            (Some(_), false) => Err("a token alone does nothing: say `found = true` on one \
                 appliance and `join = [...]` on the others"
                .to_owned()),
            (None, true) => Err("token: `holdfast fleet token` makes one".to_owned()),
        }
    }
}

/// Without the token.
impl std::fmt::Debug for Together {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { token, found, join } = self;
        let mut shown = f.debug_struct("Together");
        shown.field("token", &!token.is_empty()).field("found", found).field("join", join).finish()
    }
}

/// More than anybody lists.
const PEERS_MAX: usize = 64;
