//! The write verifier (RFC 1813 section 3.3.7): a function of a volume and its loss count only, so
//! that every appliance that executes a WRITE stamps the same one.

use model::{LossCount, VolumeId, WriteVerifier};

/// The verifier of `volume` at `loss_count`. Never all zeroes: some clients take that for "none".
pub fn write_verifier(volume: VolumeId, loss_count: LossCount) -> WriteVerifier {
    // Two 32-bit halves that a person can read in a packet dump: which volume, how many losses.
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&(volume.get() as u32).to_be_bytes());
    bytes[4..].copy_from_slice(&(loss_count.get() as u32).wrapping_add(1).to_be_bytes());
    WriteVerifier(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_changes_the_verifier_and_nothing_else_does() {
        let volume = VolumeId::new(1);
        let before = write_verifier(volume, LossCount::new(4));
        assert_eq!(before, write_verifier(volume, LossCount::new(4)));
        assert_ne!(before, write_verifier(volume, LossCount::new(5)));
        assert_ne!(write_verifier(volume, LossCount::default()).0, [0; 8]);
    }
}
