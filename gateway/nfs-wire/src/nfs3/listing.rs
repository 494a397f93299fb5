//! Directory listings: the entries of READDIR and READDIRPLUS, encoded as they are found.
//!
//! A [`ListingBuilder`] takes entries until the next would exceed what the client asked for,
//! counted to the byte as RFC 1813 (sections 3.3.16 and 3.3.17) counts; the finished [`Listing`]
//! is the payload of the reply. From a reply a listing is checked once and then read in place.
//!
//! Invariant: the bytes of a listing are a valid list, so iterating can't fail.
//!
//! Absent on purpose: where cookies come from and when they stop being good.

use std::fmt;
use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};

use super::{FileHandle, NAME_DECODE_BYTES_MAX, PostOpAttr, post_op_attr_bytes};
use crate::xdr::{Decode, Encode, Malformed, Reader, opaque_bytes, put_opaque};

#[cfg(test)]
mod tests;

/// An entry of a READDIR (`entry3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// The object's number.
    pub fileid: u64,
    /// Its name here.
    pub name: &'a [u8],
    /// Where to go on after this entry.
    pub cookie: u64,
}

/// An entry of a READDIRPLUS (`entryplus3`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntryPlus<'a> {
    /// What READDIR would list.
    pub entry: DirEntry<'a>,
    /// `name_attributes` of the protocol.
    pub attributes: PostOpAttr,
    /// `name_handle` of the protocol.
    pub handle: Option<FileHandle>,
}

/// Which of the two listings; implemented by [`Plain`] and [`Plus`].
pub trait ListingKind {
    /// Its entry.
    type Entry<'a>: Copy + fmt::Debug + PartialEq;

    /// The size on the wire, the mark in front included, of what READDIR lists of it.
    fn directory_bytes(entry: &Self::Entry<'_>) -> usize;

    /// The size on the wire, the mark in front included.
    fn entry_bytes(entry: &Self::Entry<'_>) -> usize;

    /// Appends the entry, without the mark in front.
    fn put(entry: &Self::Entry<'_>, out: &mut BytesMut);

    /// Takes an entry, without the mark in front.
    fn take<'a>(reader: &mut Reader<'a>) -> Result<Self::Entry<'a>, Malformed>;
}

/// The listing of READDIR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {}

/// The listing of READDIRPLUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plus {}

impl ListingKind for Plain {
    type Entry<'a> = DirEntry<'a>;

    fn directory_bytes(entry: &DirEntry<'_>) -> usize {
        4 + 8 + opaque_bytes(entry.name.len()) + 8
    }

    fn entry_bytes(entry: &DirEntry<'_>) -> usize {
        Self::directory_bytes(entry)
    }

    fn put(entry: &DirEntry<'_>, out: &mut BytesMut) {
        entry.fileid.put(out);
        put_opaque(out, entry.name);
        entry.cookie.put(out);
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<DirEntry<'a>, Malformed> {
        Ok(DirEntry {
            fileid: reader.u64()?,
            name: reader.opaque_slice(NAME_DECODE_BYTES_MAX)?,
            cookie: reader.u64()?,
        })
    }
}

impl ListingKind for Plus {
    type Entry<'a> = DirEntryPlus<'a>;

    fn directory_bytes(entry: &DirEntryPlus<'_>) -> usize {
        Plain::directory_bytes(&entry.entry)
    }

    fn entry_bytes(entry: &DirEntryPlus<'_>) -> usize {
        let handle = entry.handle.map_or(0, |handle| opaque_bytes(handle.as_bytes().len()));
        Self::directory_bytes(entry) + post_op_attr_bytes(&entry.attributes) + 4 + handle
    }

    fn put(entry: &DirEntryPlus<'_>, out: &mut BytesMut) {
        Plain::put(&entry.entry, out);
        entry.attributes.put(out);
        entry.handle.put(out);
    }

    fn take<'a>(reader: &mut Reader<'a>) -> Result<DirEntryPlus<'a>, Malformed> {
        Ok(DirEntryPlus {
            entry: Plain::take(reader)?,
            attributes: Decode::take(reader)?,
            handle: Decode::take(reader)?,
        })
    }
}

/// How much a listing may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimits {
    /// Of the whole listing, its end included, so at least [`LISTING_END_BYTES`].
    listing_bytes_max: usize,
    /// Of what READDIR lists of the entries.
    directory_bytes_max: usize,
}

impl PageLimits {
    /// For a READDIR: the successful result is at most `count` bytes, of which attributes and
    /// cookie verifier take their part. `None` if not even an empty listing fits: TOOSMALL.
    pub fn readdir(count: u32, dir_attributes: &PostOpAttr) -> Option<Self> {
        Self::new(usize::MAX, count, dir_attributes)
    }

    /// For a READDIRPLUS: the successful result is at most `maxcount` bytes, and what READDIR
    /// would list of the entries at most `dircount`. The latter is a hint: it ends a page after
    /// the first entry, but never keeps that one out, or a listing could not go on.
    pub fn readdirplus(dircount: u32, maxcount: u32, dir_attributes: &PostOpAttr) -> Option<Self> {
        Self::new(size(dircount), maxcount, dir_attributes)
    }

    fn new(directory_bytes_max: usize, count: u32, dir_attributes: &PostOpAttr) -> Option<Self> {
        let around = post_op_attr_bytes(dir_attributes) + COOKIEVERF_BYTES;
        let listing_bytes_max = size(count).checked_sub(around)?;
        (listing_bytes_max >= LISTING_END_BYTES)
            .then_some(Self { listing_bytes_max, directory_bytes_max })
    }
}

/// The entry would exceed the limits: end the page before it. If the page is empty: TOOSMALL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entry does not fit into this page")]
pub struct PageFull;

/// Encodes a listing entry by entry.
#[derive(Debug)]
pub struct ListingBuilder<'b, K> {
    limits: PageLimits,
    scratch: &'b mut BytesMut,
    directory_bytes: usize,
    kind: PhantomData<K>,
}

impl<'b, K: ListingKind> ListingBuilder<'b, K> {
    /// An empty page. `scratch` is empty spare capacity, for one listing after the other.
    ///
    /// # Panics
    /// If `scratch` is not empty.
    pub fn new(limits: PageLimits, scratch: &'b mut BytesMut) -> Self {
        assert!(scratch.is_empty(), "scratch holds spare capacity, no bytes");
        Self { limits, scratch, directory_bytes: 0, kind: PhantomData }
    }

    /// Appends an entry, or leaves the page as it is if it would exceed the limits.
    pub fn push(&mut self, entry: &K::Entry<'_>) -> Result<(), PageFull> {
        let listing_bytes = self.scratch.len() + K::entry_bytes(entry) + LISTING_END_BYTES;
        let directory_bytes = self.directory_bytes + K::directory_bytes(entry);
        let over_the_hint = directory_bytes > self.limits.directory_bytes_max && !self.is_empty();
        if listing_bytes > self.limits.listing_bytes_max || over_the_hint {
            return Err(PageFull);
        }
        self.directory_bytes = directory_bytes;
        ANOTHER.put(self.scratch);
        K::put(entry, self.scratch);
        Ok(())
    }

    /// Whether no entry was appended.
    pub fn is_empty(&self) -> bool {
        self.scratch.is_empty()
    }

    /// The size of the listing if it were finished now, in bytes.
    pub fn listing_bytes(&self) -> usize {
        self.scratch.len() + LISTING_END_BYTES
    }

    /// Ends the listing where the directory ends.
    pub fn finish_at_end(self) -> Listing<K> {
        self.finish(true)
    }

    /// Ends the page; the directory goes on.
    pub fn finish_with_more(self) -> Listing<K> {
        self.finish(false)
    }

    fn finish(self, eof: bool) -> Listing<K> {
        NO_OTHER.put(self.scratch);
        eof.put(self.scratch);
        Listing { bytes: self.scratch.split().freeze(), eof, kind: PhantomData }
    }
}

/// A finished listing (`dirlist3`, `dirlistplus3`).
pub struct Listing<K> {
    /// All of it as on the wire: entries, the mark of the end, `eof`.
    bytes: Bytes,
    eof: bool,
    kind: PhantomData<K>,
}

impl<K: ListingKind> Listing<K> {
    /// Its entries, read in place.
    pub fn entries(&self) -> Entries<'_, K> {
        Entries { reader: Reader::new(&self.bytes), kind: PhantomData }
    }

    /// Whether the directory ends with it.
    pub fn eof(&self) -> bool {
        self.eof
    }

    /// All of it, as on the wire.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<K: ListingKind> Decode for Listing<K> {
    fn take(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let start = reader.position();
        while reader.boolean()? {
            K::take(reader)?;
        }
        let eof = reader.boolean()?;
        Ok(Self { bytes: reader.taken_since(start), eof, kind: PhantomData })
    }
}

impl<K> Clone for Listing<K> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), eof: self.eof, kind: PhantomData }
    }
}

/// The same entries and the same end; padding does not count.
impl<K: ListingKind> PartialEq for Listing<K> {
    fn eq(&self, other: &Self) -> bool {
        self.eof == other.eof && self.entries().eq(other.entries())
    }
}

impl<K: ListingKind> Eq for Listing<K> {}

impl<K: ListingKind> fmt::Debug for Listing<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_list().entries(self.entries()).finish()?;
        write!(out, ", eof: {}", self.eof)
    }
}

/// The entries of a listing.
#[derive(Debug, Clone)]
pub struct Entries<'a, K> {
    reader: Reader<'a>,
    kind: PhantomData<K>,
}

impl<'a, K: ListingKind> Iterator for Entries<'a, K> {
    type Item = K::Entry<'a>;

    fn next(&mut self) -> Option<K::Entry<'a>> {
        // Behind the end stands `eof`, so a second look there would be wrong: stay in front.
        let mut ahead = self.reader.clone();
        let entry = ahead.boolean().ok()?.then(|| K::take(&mut ahead))?.ok()?;
        self.reader = ahead;
        Some(entry)
    }
}

fn size(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// The mark in front of an entry.
const ANOTHER: bool = true;

/// The mark behind the last one.
const NO_OTHER: bool = false;

/// The mark behind the last entry, and `eof`.
pub const LISTING_END_BYTES: usize = 8;

const COOKIEVERF_BYTES: usize = 8;
