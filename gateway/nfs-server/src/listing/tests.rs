use nfs_wire::nfs3::{Args, Nfsstat3, Reply};

use super::*;
use crate::testing::{Client, World};

async fn full_directory(names: usize) -> (World, Client, FileHandle) {
    let world = World::start().await;
    for number in 0..names {
        world.tree.plant(crate::testing::DEMO, &format!("name-{number:05}"));
    }
    let mut client = world.client().await;
    let root = client.mnt("/demo").await.unwrap();
    (world, client, root)
}

fn readdir(dir: FileHandle, cookie: u64, cookieverf: Cookieverf3, count: u32) -> Args {
    Args::Readdir(ReaddirArgs { dir, cookie, cookieverf, count })
}

/// All names, page by page, and how many pages it took.
async fn list_all(client: &mut Client, dir: FileHandle, count: u32) -> (Vec<Vec<u8>>, usize) {
    let (mut names, mut pages, mut cookie) = (Vec::new(), 0, 0);
    let mut verifier = Cookieverf3::default();
    loop {
        let reply = client.nfs(readdir(dir, cookie, verifier, count)).await;
        let Reply::Readdir(Ok(page)) = reply else { panic!("{reply:?}") };
        pages += 1;
        verifier = page.cookieverf;
        for entry in page.listing.entries() {
            names.push(entry.name.to_vec());
            cookie = entry.cookie;
        }
        if page.listing.eof() {
            return (names, pages);
        }
        assert!(page.listing.entries().next().is_some(), "an empty page is the end");
    }
}

#[tokio::test]
async fn a_directory_lists_completely_whatever_the_size_of_a_page() {
    let (_world, mut client, root) = full_directory(700).await;
    for count in [200, 1000, 4096, 65_536, u32::MAX] {
        let (names, _) = list_all(&mut client, root, count).await;
        assert_eq!(names.len(), 702);
        assert_eq!(&names[..3], [&b"."[..], b"..", b"name-00000"]);
    }
    let (_, pages) = list_all(&mut client, root, 65_536).await;
    assert_eq!(pages, 1);
}

#[tokio::test]
async fn a_page_into_which_no_entry_fits_is_too_small() {
    let (_world, mut client, root) = full_directory(1).await;
    for count in [0, 8, 100, 104, 127] {
        let reply = client.nfs(readdir(root, 0, Cookieverf3::default(), count)).await;
        let Reply::Readdir(Err(fail)) = reply else { panic!("{count}") };
        assert_eq!(fail.status, Nfsstat3::Toosmall);
        assert!(fail.attributes.is_some());
    }
}

#[tokio::test]
async fn a_page_is_never_larger_than_asked_for() {
    let (_world, mut client, root) = full_directory(100).await;
    for count in 140..400 {
        let args = readdir(root, 0, Cookieverf3::default(), count);
        let results = client.raw((nfs_wire::nfs3::PROGRAM, 3, 16), &args).await.unwrap();
        let status_bytes = 4;
        assert!(results.len() - status_bytes <= count as usize);
    }
}

#[tokio::test]
async fn a_cookie_with_the_verifier_of_another_directory_is_bad() {
    let (_world, mut client, root) = full_directory(3).await;
    let reply = client.nfs(readdir(root, 1, Cookieverf3([1; 8]), 4096)).await;
    let Reply::Readdir(Err(fail)) = reply else { panic!() };
    assert_eq!(fail.status, Nfsstat3::BadCookie);
    let from_the_start = readdir(root, 0, Cookieverf3([1; 8]), 4096);
    assert_eq!(client.nfs(from_the_start).await.failure(), None);
}

#[tokio::test]
async fn readdirplus_gives_handles_and_attributes_that_work() {
    let (_world, mut client, root) = full_directory(50).await;
    let (cookie, cookieverf) = (0, Cookieverf3::default());
    let (dircount, maxcount) = (512, 65_536);
    let args = ReaddirplusArgs { dir: root, cookie, cookieverf, dircount, maxcount };
    let reply = client.nfs(Args::Readdirplus(args)).await;
    let Reply::Readdirplus(Ok(page)) = reply else { panic!() };
    let entries: Vec<_> = page.listing.entries().collect();
    assert!(!page.listing.eof() && entries.len() > 8 && entries.len() < 15, "dircount bounds it");
    let last = entries.last().unwrap();
    assert_eq!(last.attributes.unwrap().fileid, last.entry.fileid);
    let object = last.handle.unwrap();
    let getattr = Args::Getattr(nfs_wire::nfs3::GetattrArgs { object });
    let Reply::Getattr(Ok(attributes)) = client.nfs(getattr).await else { panic!() };
    assert_eq!(Some(attributes), last.attributes);
}

#[tokio::test]
async fn a_listing_of_a_file_is_refused() {
    let (_world, mut client, root) = full_directory(0).await;
    let file = client.create(root, "a").await;
    let reply = client.nfs(readdir(file, 0, Cookieverf3::default(), 4096)).await;
    assert_eq!(reply.failure(), Some(Nfsstat3::Notdir));
}
