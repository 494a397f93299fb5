//! File handles: what a client holds instead of an open file. Valid on every appliance of the
//! fleet, across restarts; they resolve by object id, never by path.
//!
//! Format: 1 byte format, 3 bytes zero, 8 bytes volume, 8 bytes object (big endian), 16 bytes MAC
//! over the 20 bytes before, keyed by a secret of the fleet. Nobody can make one up.

use model::{ObjectId, VolumeId};
use thiserror::Error;

/// Bytes of a handle on the wire (NFS v3 allows 64).
pub const HANDLE_BYTES: usize = BODY_BYTES + MAC_BYTES;

/// An object that a client was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle {
    /// In which volume.
    pub volume: VolumeId,
    /// Which object.
    pub object: ObjectId,
}

/// The fleet's secret, ready for use.
#[derive(Clone)]
pub struct HandleKey([u8; 32]);

/// The bytes are no handle that this fleet gave out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not a handle of this fleet")]
pub struct BadHandle;

impl HandleKey {
    /// Derives the key of handles from the fleet's secret.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(blake3::derive_key("holdfast file handle v1", secret))
    }

    fn mac(&self, body: &[u8; BODY_BYTES]) -> blake3::Hash {
        blake3::keyed_hash(&self.0, body)
    }
}

impl std::fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HandleKey(secret)")
    }
}

impl Handle {
    /// The bytes a client gets.
    pub fn seal(self, key: &HandleKey) -> [u8; HANDLE_BYTES] {
        let mut body = [0; BODY_BYTES];
        body[0] = FORMAT;
        body[4..12].copy_from_slice(&self.volume.get().to_be_bytes());
        body[12..20].copy_from_slice(&self.object.get().to_be_bytes());
        let mut bytes = [0; HANDLE_BYTES];
        bytes[..BODY_BYTES].copy_from_slice(&body);
        bytes[BODY_BYTES..].copy_from_slice(&key.mac(&body).as_bytes()[..MAC_BYTES]);
        bytes
    }

    /// Reads what a client sent.
    ///
    /// # Errors
    /// [`BadHandle`] for any bytes that [`Handle::seal`] did not make with this key.
    pub fn parse(bytes: &[u8], key: &HandleKey) -> Result<Self, BadHandle> {
        let bytes: &[u8; HANDLE_BYTES] = bytes.try_into().map_err(|_| BadHandle)?;
        let (body, mac) = bytes.split_first_chunk::<BODY_BYTES>().ok_or(BadHandle)?;
        // All 32 bytes are compared in constant time: the tail is ours on both sides.
        let expected = key.mac(body);
        let mut claimed = *expected.as_bytes();
        claimed[..MAC_BYTES].copy_from_slice(mac);
        if expected != claimed || body[0] != FORMAT {
            return Err(BadHandle);
        }
        let number = |at: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&body[at..at + 8]);
            u64::from_be_bytes(raw)
        };
        Ok(Self { volume: VolumeId::new(number(4)), object: ObjectId::new(number(12)) })
    }
}

const FORMAT: u8 = 1;
const BODY_BYTES: usize = 20;
const MAC_BYTES: usize = 16;
const _: () = assert!(HANDLE_BYTES <= 64, "RFC 1813 section 2.4: NFS3_FHSIZE");

#[cfg(test)]
mod tests;
