//! READDIR and READDIRPLUS: every name once, whatever the page and whatever happens meanwhile.

use std::collections::{HashMap, HashSet};

use nfs3_client::nfs3_types::nfs3::*;

use crate::client::{Call, Client, Status, failure, packed, place, with_mode};
use crate::world::World;

const START: (u64, cookieverf3) = (0, cookieverf3([0; 8]));

fn fill(nfs: &mut Client, dir: &nfs_fh3, names: impl Iterator<Item = String>) {
    let calls: Vec<Call> = names
        .map(|name| {
            let how = createhow3::UNCHECKED(with_mode(0o600));
            Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &CREATE3args { where_: place(dir, name), how })
        })
        .collect();
    for made in nfs.call_all::<CREATE3res>(&calls) {
        made.unwrap();
    }
}

#[test]
fn a_hundred_thousand_entries_list_completely() {
    const ENTRIES: usize = 100_000;
    let (_world, mut nfs, dir) = World::folder();
    let started = std::time::Instant::now();
    fill(&mut nfs, &dir, (0..ENTRIES).map(|number| format!("entry.{number:06}")));
    println!("{ENTRIES} files made in {:?}", started.elapsed());
    let started = std::time::Instant::now();
    let (mut names, mut cookies) = (HashSet::new(), HashSet::new());
    let (mut after, mut pages) = (START, 0);
    loop {
        let page = nfs.readdirplus(&dir, after, (1 << 16, 1 << 18)).unwrap();
        pages += 1;
        for entry in page.reply.entries.0 {
            after = (entry.cookie, page.cookieverf);
            assert!(cookies.insert(entry.cookie), "a cookie is given out once");
            assert!(names.insert(entry.name.as_ref().to_vec()), "a name is listed once");
            assert!(entry.name_handle.is_some());
            assert_eq!(entry.name_attributes.unwrap().fileid, entry.fileid);
        }
        if page.reply.eof {
            break;
        }
    }
    println!("listed in {pages} pages, {:?}", started.elapsed());
    assert_eq!(names.len(), ENTRIES + 2);
    assert_eq!(nfs.names(&dir).len(), ENTRIES, "plain READDIR agrees");
}

#[test]
fn dot_and_dot_dot_are_listed_with_the_directory_and_its_parent() {
    let (_world, mut nfs, dir) = World::folder();
    let sub = nfs.mkdir(&dir, "sub");
    let root = nfs.root("demo");
    for (listed, parent) in [(&sub, &dir), (&dir, &root), (&root, &root)] {
        let page = nfs.readdirplus(listed, START, (4096, 65_536)).unwrap();
        let entries = page.reply.entries.0;
        let found = |name: &[u8]| entries.iter().find(|entry| entry.name.as_ref() == name).unwrap();
        let ids = (nfs.getattr(listed).fileid, nfs.getattr(parent).fileid);
        assert_eq!((found(b".").fileid, found(b"..").fileid), ids);
        for name in [b".".as_slice(), b".."] {
            let entry = found(name);
            if let Nfs3Option::Some(shown) = &entry.name_attributes {
                assert_eq!((shown.fileid, shown.type_), (entry.fileid, ftype3::NF3DIR));
            }
        }
    }
}

#[test]
fn every_cookie_leads_to_what_follows_its_entry_at_any_page_size() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "first");
    for number in 0..30 {
        nfs.link(&file, &dir, format!("link.{number}")).unwrap();
    }
    let whole = nfs.readdir(&dir, START, 65_536).unwrap();
    assert!(whole.reply.eof);
    let entries = &whole.reply.entries.0;
    assert_eq!(entries.len(), 33);
    let distinct: HashSet<u64> = entries.iter().map(|entry| entry.cookie).collect();
    assert_eq!(distinct.len(), entries.len(), "hard links have cookies of their own");
    for (at, entry) in entries.iter().enumerate() {
        let after = (entry.cookie, whole.cookieverf);
        let rest = nfs.readdir(&dir, after, 65_536).unwrap().reply;
        assert_eq!(rest.entries.0, entries[at + 1..]);
        assert!(rest.eof);
    }
    for count in [144, 150, 200, 333, 512, 1000] {
        assert_eq!(pages(&mut nfs, &dir, count), *entries, "pages of {count} bytes");
    }
}

/// The entries in pages of at most `count` bytes.
fn pages(nfs: &mut Client, dir: &nfs_fh3, count: u32) -> Vec<entry3<'static>> {
    let (mut listed, mut after) = (Vec::new(), START);
    loop {
        let page = nfs.readdir(dir, after, count).unwrap();
        assert!(packed(&page).len() <= count as usize, "a page of {count} bytes is no longer");
        let eof = page.reply.eof;
        assert!(eof || !page.reply.entries.is_empty(), "an empty page is the end");
        for entry in page.reply.entries.0 {
            after = (entry.cookie, page.cookieverf);
            listed.push(entry);
        }
        if eof {
            return listed;
        }
    }
}

#[test]
fn a_count_that_holds_no_entry_is_too_small_and_never_an_empty_page() {
    let (_world, mut nfs, dir) = World::folder();
    let long = "n".repeat(255);
    nfs.create(&dir, &long);
    for count in [0, 1, 16, 100] {
        nfs.readdir(&dir, START, count).must_be(nfsstat3::NFS3ERR_TOOSMALL);
        nfs.readdirplus(&dir, START, (count, count)).must_be(nfsstat3::NFS3ERR_TOOSMALL);
    }
    let dots = nfs.readdir(&dir, START, 200).unwrap();
    assert_eq!(dots.reply.entries.0.len(), 2, "the long name does not fit");
    assert!(!dots.reply.eof);
    let after = (dots.reply.entries.0[1].cookie, dots.cookieverf);
    let refused = nfs.readdir(&dir, after, 200);
    refused.must_be(nfsstat3::NFS3ERR_TOOSMALL);
    assert!(failure(refused).dir_attributes.is_some());
    let rest = nfs.readdir(&dir, after, 512).unwrap();
    assert!(rest.reply.eof);
    assert_eq!(rest.reply.entries.0[0].name.as_ref(), long.as_bytes());
    let end = nfs.readdir(&dir, (rest.reply.entries.0[0].cookie, rest.cookieverf), 512).unwrap();
    assert!(end.reply.eof && end.reply.entries.is_empty());
}

#[test]
fn a_large_count_is_cut_to_what_one_reply_may_hold() {
    let (_world, mut nfs, dir) = World::folder();
    fill(&mut nfs, &dir, (0..100).map(|number| format!("{number}")));
    let page = nfs.readdir(&dir, START, u32::MAX).unwrap();
    assert!(page.reply.eof);
    assert_eq!(page.reply.entries.0.len(), 102);
    let page = nfs.readdirplus(&dir, START, (u32::MAX, u32::MAX)).unwrap();
    assert_eq!(page.reply.entries.0.len(), 102);
    let page = nfs.readdirplus(&dir, START, (1, 65_536));
    if let Nfs3Result::Ok(page) = page {
        assert!(!page.reply.entries.is_empty(), "dircount is a hint, an empty page a lie");
    }
}

#[test]
fn a_cookie_verifier_is_checked_and_a_cookie_of_nothing_leads_past_the_end() {
    let (_world, mut nfs, dir) = World::folder();
    fill(&mut nfs, &dir, (0..5).map(|number| format!("{number}")));
    let page = nfs.readdir(&dir, START, 4096).unwrap();
    let (first, verifier) = (page.reply.entries.0[0].cookie, page.cookieverf);
    let other = nfs.mkdir(&dir, "other");
    let of_other = nfs.readdir(&other, START, 4096).unwrap().cookieverf;
    for wrong in [cookieverf3([0xee; 8]), of_other] {
        assert_ne!(wrong, verifier);
        let refused = nfs.readdir(&dir, (first, wrong), 4096);
        refused.must_be(nfsstat3::NFS3ERR_BAD_COOKIE);
        assert!(failure(refused).dir_attributes.is_some());
        nfs.readdirplus(&dir, (first, wrong), (4096, 4096)).must_be(nfsstat3::NFS3ERR_BAD_COOKIE);
    }
    for nowhere in [u64::MAX, u64::MAX - 1, 1 << 63, 1 << 40] {
        let answer = nfs.readdir(&dir, (nowhere, verifier), 4096);
        match answer {
            Nfs3Result::Ok(page) => assert!(page.reply.eof && page.reply.entries.is_empty()),
            refused @ Nfs3Result::Err(_) => refused.must_be(nfsstat3::NFS3ERR_BAD_COOKIE),
        }
    }
}

#[test]
fn entries_removed_and_added_meanwhile_neither_repeat_nor_hide_others() {
    let (_world, mut nfs, dir) = World::folder();
    const STAYING: usize = 300;
    for number in 0..STAYING {
        nfs.create(&dir, format!("stays.{number}"));
        nfs.create(&dir, format!("goes.{number}"));
    }
    let mut seen: HashMap<Vec<u8>, u32> = HashMap::new();
    let (mut after, mut round) = (START, 0);
    loop {
        let page = nfs.readdir(&dir, after, 400).unwrap();
        for entry in page.reply.entries.0 {
            after = (entry.cookie, page.cookieverf);
            *seen.entry(entry.name.as_ref().to_vec()).or_default() += 1;
        }
        if page.reply.eof {
            break;
        }
        // Some before and some after where we are, the very last one seen among them; names that
        // went come again.
        if round < STAYING {
            nfs.remove(&dir, format!("goes.{round}")).unwrap();
            nfs.create(&dir, format!("comes.{round}"));
            nfs.rename((&dir, &format!("comes.{round}")), (&dir, &format!("came.{round}")))
                .unwrap();
        }
        round += 1;
    }
    for number in 0..STAYING {
        assert_eq!(seen.get(format!("stays.{number}").as_bytes()), Some(&1), "{number}");
    }
    assert!(seen.values().all(|count| *count == 1), "nothing is listed twice");
}

#[test]
fn removing_while_listing_empties_a_directory_in_one_pass() {
    let (_world, mut nfs, dir) = World::folder();
    fill(&mut nfs, &dir, (0..2000).map(|number| format!("{number}")));
    let mut after = START;
    loop {
        let page = nfs.readdir(&dir, after, 1024).unwrap();
        for entry in page.reply.entries.0 {
            after = (entry.cookie, page.cookieverf);
            if !entry.name.as_ref().starts_with(b".") {
                nfs.remove(&dir, entry.name.as_ref()).unwrap();
            }
        }
        if page.reply.eof {
            break;
        }
    }
    assert_eq!(nfs.names(&dir), Vec::<Vec<u8>>::new(), "rm -r does it like this");
}

#[test]
fn what_is_no_directory_cant_be_listed() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let symlink = nfs.try_symlink(&dir, "symlink", b".").unwrap().obj.unwrap();
    for object in [&file, &symlink] {
        nfs.readdir(object, START, 4096).must_be(nfsstat3::NFS3ERR_NOTDIR);
        nfs.readdirplus(object, START, (4096, 4096)).must_be(nfsstat3::NFS3ERR_NOTDIR);
    }
}
