//! XDR (RFC 4506): big-endian words of four bytes, opaque data padded to a multiple of four.
//!
//! [`Reader`] walks over a message that somebody else sent. Invariant: it never stands past the
//! end, and hands out variable-length data only after its length was checked against the caller's
//! limit and the bytes that remain. [`Encode`] and [`Decode`] are the two directions of a type.
//!
//! Absent on purpose: serde (a copy and an indirection for each field), and any type that
//! allocates in proportion to a length it was merely told.

use bytes::{BufMut, Bytes, BytesMut};

#[cfg(test)]
mod tests;

/// Why bytes are no value of the type that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The message ends before the value does.
    #[error("the message ends before the value does")]
    Short,
    /// A length, or a number of items, is over its limit.
    #[error("a length of {claimed} is over the limit of {limit}")]
    TooLong {
        /// What the message claims.
        claimed: u32,
        /// What the decoder takes.
        limit: u32,
    },
    /// A boolean, enumeration or union discriminant that the protocol does not have.
    #[error("{value} is no {of}")]
    NoSuchValue {
        /// The protocol's name of the type.
        of: &'static str,
        /// What the message has instead.
        value: u32,
    },
    /// READ and WRITE tell the length of their data twice, and the two differ.
    #[error("a count of {count} stands before {data} bytes of data")]
    CountDiffers {
        /// The separate count.
        count: u32,
        /// The length of the data itself.
        data: u32,
    },
}

/// A type that can be written as XDR, whole and in one piece.
pub trait Encode {
    /// Appends the value, padding included.
    fn put(&self, out: &mut BytesMut);
}

/// A type that can be read back from XDR.
pub trait Decode: Sized {
    /// Takes one value from the front of `reader`. After a refusal the reader stands anywhere
    /// within its message and is of no further use.
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed>;
}

/// A position in a message. Slices that it hands out share the message's memory.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    message: &'a Bytes,
    at: usize,
    /// At most the length of the message.
    end: usize,
}

impl<'a> Reader<'a> {
    /// Stands at the first byte of `message`.
    pub fn new(message: &'a Bytes) -> Self {
        Self { message, at: 0, end: message.len() }
    }

    /// How many bytes have been taken so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub fn remaining_bytes(&self) -> usize {
        self.end - self.at
    }

    /// Everything that is left, as a slice of the message.
    pub fn rest(&self) -> Bytes {
        self.message.slice(self.at..self.end)
    }

    /// What was taken since `start`, an earlier [`position`](Self::position).
    pub(crate) fn taken_since(&self, start: usize) -> Bytes {
        self.message.slice(start..self.at)
    }

    /// Fixed-length opaque data. `N` is a multiple of four in all our protocols.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        const { assert!(N.is_multiple_of(4), "fixed-length data that needs padding") };
        let rest = &self.message[self.at..self.end];
        let bytes = rest.first_chunk::<N>().ok_or(Malformed::Short)?;
        self.at += N;
        Ok(*bytes)
    }

    /// An unsigned integer.
    #[inline]
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_be_bytes)
    }

    /// An unsigned hyper integer.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_be_bytes)
    }

    /// A boolean; only 0 and 1 pass.
    #[inline]
    pub fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.u32()? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(Malformed::NoSuchValue { of: "bool", value }),
        }
    }

    /// Variable-length opaque data or a string of at most `limit` bytes, shared with the message.
    pub fn opaque(&mut self, limit: usize) -> Result<Bytes, Malformed> {
        let (start, end) = self.opaque_range(limit)?;
        Ok(self.message.slice(start..end))
    }

    /// As [`opaque`](Self::opaque), borrowed: no reference is counted.
    pub fn opaque_slice(&mut self, limit: usize) -> Result<&'a [u8], Malformed> {
        let (start, end) = self.opaque_range(limit)?;
        Ok(&self.message[start..end])
    }

    /// As [`opaque`](Self::opaque), to be read as a message of its own.
    pub fn opaque_reader(&mut self, limit: usize) -> Result<Self, Malformed> {
        let (at, end) = self.opaque_range(limit)?;
        Ok(Self { message: self.message, at, end })
    }

    /// The number of items of an array, at most `limit`, each of at least `item_bytes_min` bytes.
    pub fn array_items(&mut self, limit: usize, item_bytes_min: usize) -> Result<usize, Malformed> {
        let items = self.length(limit)?;
        let bytes = items.checked_mul(item_bytes_min);
        match bytes.is_some_and(|bytes| bytes <= self.remaining_bytes()) {
            true => Ok(items),
            false => Err(Malformed::Short),
        }
    }

    fn opaque_range(&mut self, limit: usize) -> Result<(usize, usize), Malformed> {
        let length = self.length(limit)?;
        let remaining = self.remaining_bytes();
        // Two comparisons, so that no sum of a claimed length can overflow.
        if length > remaining || padding(length) > remaining - length {
            return Err(Malformed::Short);
        }
        let start = self.at;
        self.at += length + padding(length);
        Ok((start, start + length))
    }

    fn length(&mut self, limit: usize) -> Result<usize, Malformed> {
        let claimed = self.u32()?;
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        if claimed > limit {
            return Err(Malformed::TooLong { claimed, limit });
        }
        usize::try_from(claimed).map_err(|_| Malformed::TooLong { claimed, limit })
    }
}

/// How many bytes of padding follow `length` bytes of opaque data.
#[inline]
pub const fn padding(length: usize) -> usize {
    length.wrapping_neg() & 3
}

/// How many bytes variable-length opaque data of `length` bytes takes: its length, itself, padding.
#[inline]
pub const fn opaque_bytes(length: usize) -> usize {
    4 + length + padding(length)
}

/// Appends variable-length opaque data with its length and padding.
pub fn put_opaque(out: &mut BytesMut, data: &[u8]) {
    put_length(out, data.len());
    out.put_slice(data);
    out.put_slice(&PADDING[..padding(data.len())]);
}

/// Appends the length of variable-length data, or the number of an array's items.
pub fn put_length(out: &mut BytesMut, length: usize) {
    let length = u32::try_from(length).expect("our own messages stay far below 4 GiB");
    out.put_u32(length);
}

/// Appends unsigned integers, all with one check of the capacity.
#[inline]
pub(crate) fn put_words<const N: usize>(out: &mut BytesMut, words: [u32; N]) {
    out.put_slice(words.map(u32::to_be_bytes).as_flattened());
}

/// The longest padding there is; a shorter one is a part of it.
pub(crate) const PADDING: [u8; 3] = [0; 3];

impl Encode for () {
    fn put(&self, _out: &mut BytesMut) {}
}

impl Decode for () {
    fn take(_reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(())
    }
}

impl Encode for u32 {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        out.put_u32(*self);
    }
}

impl Decode for u32 {
    #[inline]
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u32()
    }
}

impl Encode for u64 {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        out.put_u64(*self);
    }
}

impl Decode for u64 {
    #[inline]
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.u64()
    }
}

impl Encode for bool {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        out.put_u32(u32::from(*self));
    }
}

impl Decode for bool {
    #[inline]
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.boolean()
    }
}

/// XDR's optional data: a boolean, then the value if it is true.
impl<T: Encode> Encode for Option<T> {
    #[inline]
    fn put(&self, out: &mut BytesMut) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }
}

impl<T: Decode> Decode for Option<T> {
    #[inline]
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.boolean()? {
            true => T::take(reader).map(Some),
            false => Ok(None),
        }
    }
}

/// Both directions of a struct from one list of its fields in wire order, so that they agree.
macro_rules! wire_struct {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::xdr::Encode for $name {
            fn put(&self, out: &mut ::bytes::BytesMut) {
                $($crate::xdr::Encode::put(&self.$field, out);)+
            }
        }

        impl $crate::xdr::Decode for $name {
            fn take(
                reader: &mut $crate::xdr::Reader<'_>,
            ) -> Result<Self, $crate::xdr::Malformed> {
                Ok(Self { $($field: $crate::xdr::Decode::take(reader)?),+ })
            }
        }
    };
}

/// An enumeration of the protocol: its codes, its words, and both directions.
macro_rules! wire_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident as $of:literal { $($variant:ident = $code:literal, $word:literal;)+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $(
                #[doc = concat!("`", $word, "`, ", stringify!($code), " on the wire.")]
                $variant = $code
            ),+
        }

        impl $name {
            /// All values, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The code on the wire.
            pub const fn code(self) -> u32 {
                self as u32
            }

            /// The value with this code, if the protocol has one.
            pub const fn from_code(code: u32) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// The protocol's own word for it.
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, out: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                out.write_str(self.word())
            }
        }

        impl $crate::xdr::Encode for $name {
            fn put(&self, out: &mut ::bytes::BytesMut) {
                $crate::xdr::Encode::put(&self.code(), out);
            }
        }

        impl $crate::xdr::Decode for $name {
            fn take(
                reader: &mut $crate::xdr::Reader<'_>,
            ) -> Result<Self, $crate::xdr::Malformed> {
                let value = reader.u32()?;
                Self::from_code(value)
                    .ok_or($crate::xdr::Malformed::NoSuchValue { of: $of, value })
            }
        }
    };
}

pub(crate) use {wire_enum, wire_struct};
