//! The shape of protobuf's bytes, looked at before the library does.
//!
//! Invariant: of bytes that pass, every length ends within them and none begins a group. The
//! library makes room for what a length claims, and nests its calls as deep as groups do
//! (RUSTSEC-2024-0437). Absent on purpose: what fields mean.

/// Calls `body` for each length-delimited field; `None` if it does or the bytes don't add up.
pub(crate) fn for_each_field(
    mut bytes: &[u8],
    body: &mut dyn FnMut(u64, &[u8]) -> Option<()>,
) -> Option<()> {
    while !bytes.is_empty() {
        let tag = varint(&mut bytes)?;
        match tag & 7 {
            0 => drop(varint(&mut bytes)?),
            1 => bytes = bytes.get(8..)?,
            2 => {
                let len = usize::try_from(varint(&mut bytes)?).ok()?;
                let (inside, after) = bytes.split_at_checked(len)?;
                body(tag >> 3, inside)?;
                bytes = after;
            }
            5 => bytes = bytes.get(4..)?,
            _ => return None,
        }
    }
    Some(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = bytes.split_first()?;
        *bytes = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Whether the bytes of a change of membership may be parsed.
pub(crate) fn is_flat_change(bytes: &[u8]) -> bool {
    let single = |body: &[u8]| for_each_field(body, &mut |_, _| Some(()));
    let changes = &mut |field, body: &[u8]| match field {
        CHANGES_FIELD => single(body),
        _ => Some(()),
    };
    for_each_field(bytes, changes).is_some()
}

/// The changes in a `ConfChangeV2` of eraftpb.proto.
const CHANGES_FIELD: u64 = 2;

#[cfg(test)]
mod tests;
