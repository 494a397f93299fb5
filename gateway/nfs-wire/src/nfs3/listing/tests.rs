use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::message::Body;
use crate::nfs3::{Cookieverf3, Fattr3, Ftype3, ListOk, Nfstime3, Specdata3};

fn attributes() -> Fattr3 {
    let time = Nfstime3 { seconds: 1, nseconds: 2 };
    Fattr3 {
        kind: Ftype3::Reg,
        mode: 0o644,
        nlink: 1,
        uid: 0,
        gid: 0,
        size: 0,
        used: 0,
        rdev: Specdata3 { major: 0, minor: 0 },
        fsid: 1,
        fileid: 2,
        atime: time,
        mtime: time,
        ctime: time,
    }
}

fn entry(name: &[u8]) -> DirEntry<'_> {
    DirEntry { fileid: 5, name, cookie: 6 }
}

fn entry_plus(name: &[u8], handle: usize) -> DirEntryPlus<'_> {
    let handle = FileHandle::new(&vec![3; handle]);
    DirEntryPlus { entry: entry(name), attributes: Some(attributes()), handle }
}

/// The size of the whole successful result, as the client counts it.
fn result_bytes<K: ListingKind>(dir_attributes: PostOpAttr, listing: &Listing<K>) -> usize {
    let cookieverf = Cookieverf3::default();
    ListOk { dir_attributes, cookieverf, listing: listing.clone() }.to_bytes().len()
}

fn size_of(count: usize) -> u32 {
    u32::try_from(count).unwrap()
}

#[test]
fn an_entry_that_fits_to_the_byte_is_taken_and_one_byte_less_refuses_it() {
    for dir_attributes in [None, Some(attributes())] {
        let around = post_op_attr_bytes(&dir_attributes) + 8 + LISTING_END_BYTES;
        let exact = around + Plain::entry_bytes(&entry(b"seven b"));
        for (count, fits) in [(exact, true), (exact - 1, false)] {
            let limits = PageLimits::readdir(size_of(count), &dir_attributes).unwrap();
            let scratch = &mut BytesMut::new();
            let mut page = ListingBuilder::<Plain>::new(limits, scratch);
            assert_eq!(page.push(&entry(b"seven b")).is_ok(), fits);
            assert_eq!(page.is_empty(), !fits);
            let listing = page.finish_at_end();
            assert!(result_bytes(dir_attributes, &listing) <= count);
        }
    }
}

#[test]
fn a_count_below_an_empty_listing_makes_no_page() {
    assert_eq!(PageLimits::readdir(4 + 8 + 7, &None), None);
    assert!(PageLimits::readdir(4 + 8 + 8, &None).is_some());
    assert_eq!(PageLimits::readdirplus(0, 0, &Some(attributes())), None);
}

#[test]
fn dircount_counts_no_attributes_and_no_handles() {
    let names = entry_plus(b"name", 64);
    let three = size_of(3 * Plain::entry_bytes(&names.entry));
    for (dircount, entries) in [(three, 3), (three - 1, 2)] {
        let limits = PageLimits::readdirplus(dircount, u32::MAX, &None).unwrap();
        let scratch = &mut BytesMut::new();
        let mut page = ListingBuilder::<Plus>::new(limits, scratch);
        while page.push(&names).is_ok() {}
        assert_eq!(page.finish_with_more().entries().count(), entries);
    }
}

#[test]
fn dircount_never_keeps_out_the_first_entry() {
    let limits = PageLimits::readdirplus(1, 8192, &None).unwrap();
    let scratch = &mut BytesMut::new();
    let mut page = ListingBuilder::<Plus>::new(limits, scratch);
    assert_eq!(page.push(&entry_plus(b"first", 32)), Ok(()));
    assert_eq!(page.push(&entry_plus(b"second", 32)), Err(PageFull));
}

#[test]
fn a_smaller_entry_may_still_fit_where_a_larger_one_did_not() {
    let around = 4 + 8 + LISTING_END_BYTES;
    let count = size_of(around + Plain::entry_bytes(&entry(b"1")));
    let limits = PageLimits::readdir(count, &None).unwrap();
    let scratch = &mut BytesMut::new();
    let mut page = ListingBuilder::<Plain>::new(limits, scratch);
    assert_eq!(page.push(&entry(b"too long")), Err(PageFull));
    assert_eq!(page.push(&entry(b"1")), Ok(()));
}

#[test]
fn an_empty_listing_tells_whether_the_directory_ends() {
    let limits = PageLimits::readdir(512, &None).unwrap();
    let scratch = &mut BytesMut::new();
    let end = ListingBuilder::<Plain>::new(limits, scratch).finish_at_end();
    let more = ListingBuilder::<Plain>::new(limits, scratch).finish_with_more();
    assert_eq!((end.eof(), more.eof()), (true, false));
    assert_eq!((end.entries().next(), more.entries().next()), (None, None));
}

#[test]
fn entries_end_for_good() {
    let limits = PageLimits::readdir(512, &None).unwrap();
    let scratch = &mut BytesMut::new();
    // `eof` behind the mark of the end is 1, which read as a mark would announce an entry.
    let listing = ListingBuilder::<Plain>::new(limits, scratch).finish_at_end();
    let mut entries = listing.entries();
    assert!((0..5).all(|_| entries.next().is_none()));
}

proptest! {
    #[test]
    fn a_page_is_never_larger_than_what_was_asked_for(
        names in vec(vec(any::<u8>(), 0..60), 0..40),
        handle in 0..=64_usize,
        (dircount, maxcount) in (0..4000_u32, 0..4000_u32),
    ) {
        let dir_attributes = Some(attributes());
        let scratch = &mut BytesMut::new();
        if let Some(limits) = PageLimits::readdirplus(dircount, maxcount, &dir_attributes) {
            let mut page = ListingBuilder::<Plus>::new(limits, scratch);
            let entries: Vec<_> = names.iter().map(|name| entry_plus(name, handle)).collect();
            let taken = entries.iter().take_while(|entry| page.push(entry).is_ok()).count();
            let promised = page.listing_bytes();
            let listing = page.finish_with_more();
            prop_assert_eq!(listing.as_bytes().len(), promised);
            prop_assert!(listing.entries().eq(entries[..taken].iter().copied()));

            let bytes = result_bytes(dir_attributes, &listing);
            prop_assert!(bytes <= usize::try_from(maxcount).unwrap());
            if let Some(next) = entries.get(taken) {
                let full = bytes + Plus::entry_bytes(next) > usize::try_from(maxcount).unwrap();
                let listed: usize = entries[..=taken].iter().map(Plus::directory_bytes).sum();
                let over_the_hint = listed > usize::try_from(dircount).unwrap();
                prop_assert!(full || over_the_hint, "the page ended without a reason");
            }
        }
    }

    #[test]
    fn entries_have_the_size_that_is_counted(
        name in vec(any::<u8>(), 0..60),
        handle in 0..=64_usize,
    ) {
        let mut out = BytesMut::new();
        let plus = entry_plus(&name, handle);
        Plus::put(&plus, &mut out);
        prop_assert_eq!(4 + out.len(), Plus::entry_bytes(&plus));
        out.clear();
        Plain::put(&plus.entry, &mut out);
        prop_assert_eq!(4 + out.len(), Plain::entry_bytes(&plus.entry));
    }
}
