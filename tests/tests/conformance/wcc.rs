//! Weak cache consistency and times: a client that trusts them never shows what is gone.

use nfs3_client::nfs3_types::nfs3::*;

use crate::client::{
    Call, Client, Credential, nanos, packed, place, unpacked, with_mode, with_size, write_args,
};
use crate::world::World;

/// What a client keeps of an object to recognise it by.
type Kept = (u64, u64, u64);

fn kept(shown: &fattr3) -> Kept {
    (shown.size, nanos(shown.mtime), nanos(shown.ctime))
}

/// `before` must be what the last answer left, and `after` later than it.
#[track_caller]
fn follows(wcc: wcc_data, last: &mut Kept, what: &str) {
    let before = wcc.before.unwrap();
    assert_eq!((before.size, nanos(before.mtime), nanos(before.ctime)), *last, "{what}: before");
    let after = kept(&wcc.after.unwrap());
    assert!(after.2 > last.2, "{what}: ctime moves with every change");
    *last = after;
}

#[test]
fn before_is_what_the_answer_to_the_last_change_of_a_directory_left() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let mut last = kept(&nfs.getattr(&dir));
    let made = nfs.try_create(&dir, "new", createhow3::GUARDED(sattr3::default())).unwrap();
    follows(made.dir_wcc, &mut last, "CREATE");
    follows(nfs.try_mkdir(&dir, "sub").unwrap().dir_wcc, &mut last, "MKDIR");
    follows(nfs.try_symlink(&dir, "symlink", b"x").unwrap().dir_wcc, &mut last, "SYMLINK");
    let fifo = mknoddata3::NF3FIFO(sattr3::default());
    follows(nfs.mknod(&dir, "fifo", fifo).unwrap().dir_wcc, &mut last, "MKNOD");
    follows(nfs.link(&file, &dir, "link").unwrap().linkdir_wcc, &mut last, "LINK");
    let renamed = nfs.rename((&dir, "new"), (&dir, "renamed")).unwrap();
    assert_eq!(packed(&renamed.fromdir_wcc), packed(&renamed.todir_wcc), "one directory");
    follows(renamed.fromdir_wcc, &mut last, "RENAME");
    follows(nfs.remove(&dir, "link").unwrap().dir_wcc, &mut last, "REMOVE");
    follows(nfs.setattr(&dir, with_mode(0o700)).unwrap().obj_wcc, &mut last, "SETATTR");
    let sub = nfs.lookup(&dir, "sub").unwrap().object;
    let mut last_of_sub = kept(&nfs.getattr(&sub));
    let moved = nfs.rename((&dir, "fifo"), (&sub, "fifo")).unwrap();
    follows(moved.fromdir_wcc, &mut last, "RENAME from");
    follows(moved.todir_wcc, &mut last_of_sub, "RENAME to");
    nfs.remove(&sub, "fifo").unwrap();
    follows(nfs.rmdir(&dir, "sub").unwrap().dir_wcc, &mut last, "RMDIR");
    assert_eq!(kept(&nfs.getattr(&dir)), last);
}

#[test]
fn before_is_what_the_answer_to_the_last_change_of_a_file_left() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let mut last = kept(&nfs.getattr(&file));
    follows(nfs.put(&file, 0, b"0123456789").file_wcc, &mut last, "WRITE");
    assert_eq!(last.1, last.2, "a write moves both times");
    follows(nfs.put(&file, 0, b"0123456789").file_wcc, &mut last, "WRITE of the same");
    let synced = nfs.write(&file, 100, b"x", stable_how::FILE_SYNC).unwrap();
    follows(synced.file_wcc, &mut last, "WRITE, synced");
    assert_eq!(last.0, 101);
    follows(nfs.setattr(&file, with_size(50)).unwrap().obj_wcc, &mut last, "truncation");
    follows(nfs.setattr(&file, with_size(50)).unwrap().obj_wcc, &mut last, "to the same size");
    let mtime = last.1;
    follows(nfs.setattr(&file, with_mode(0o600)).unwrap().obj_wcc, &mut last, "chmod");
    assert_eq!(last.1, mtime, "chmod leaves the mtime");
    let both = sattr3 { size: Nfs3Option::Some(7), ..with_mode(0o640) };
    follows(nfs.setattr(&file, both).unwrap().obj_wcc, &mut last, "size and mode");

    let committed = nfs.commit(&file).unwrap().file_wcc;
    assert_eq!(kept(&committed.after.unwrap()), last, "COMMIT changes nothing");
    nfs.read(&file, 0, 10).unwrap();
    nfs.lookup(&dir, "file").unwrap();
    assert_eq!(kept(&nfs.getattr(&file)), last);

    let linked = nfs.link(&file, &dir, "link").unwrap().file_attributes.unwrap();
    assert!(nanos(linked.ctime) > last.2, "a new name is a change");
    nfs.rename((&dir, "link"), (&dir, "renamed")).unwrap();
    let renamed = nfs.getattr(&file);
    assert!(nanos(renamed.ctime) > nanos(linked.ctime));
    nfs.remove(&dir, "renamed").unwrap();
    assert!(nanos(nfs.getattr(&file).ctime) > nanos(renamed.ctime));
    assert_eq!(nanos(nfs.getattr(&file).mtime), last.1, "names are not data");
}

#[test]
fn what_is_refused_or_changes_nothing_moves_no_time() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.link(&file, &dir, "link").unwrap();
    let (of_dir, of_file) = (packed(&nfs.getattr(&dir)), packed(&nfs.getattr(&file)));
    nfs.rename((&dir, "file"), (&dir, "link")).unwrap();
    nfs.rename((&dir, "file"), (&dir, "file")).unwrap();
    nfs.try_create(&dir, "file", createhow3::UNCHECKED(sattr3::default())).unwrap();
    nfs.put(&file, 5, b"");
    let _ = nfs.remove(&dir, "missing");
    let _ = nfs.rmdir(&dir, "file");
    let _ = nfs.link(&dir, &dir, "dir");
    let _ = nfs.write(&file, u64::MAX, b"x", stable_how::UNSTABLE);
    assert_eq!(packed(&nfs.getattr(&dir)), of_dir);
    assert_eq!(packed(&nfs.getattr(&file)), of_file);
}

/// What one change found and left; `found` is unknown if others may have come between.
struct Link {
    found: Option<Kept>,
    left: Kept,
}

impl From<wcc_data> for Link {
    fn from(wcc: wcc_data) -> Self {
        let found = match wcc.before {
            Nfs3Option::Some(found) => Some((found.size, nanos(found.mtime), nanos(found.ctime))),
            Nfs3Option::None => None,
        };
        Self { found, left: kept(&wcc.after.unwrap()) }
    }
}

/// Orders changes by what they left: each that says what it found must have found what the one
/// before it left, but where a change that does not say what it found may have come between.
fn form_one_chain(born: Kept, mut links: Vec<Link>, end: Kept) {
    // Of two that came together one may have been shown with the other's ctime, never its mtime.
    links.sort_unstable_by_key(|link| (link.left.2, link.left.1));
    let mut last = born;
    let (mut gaps, mut silent) = (Vec::new(), 0);
    for Link { found, left } in &links {
        match found {
            Some(found) if *found != last => gaps.push((*found, last)),
            Some(_) => {}
            None => silent += 1,
        }
        last = *left;
    }
    // Each silent change is missing where it came, and is seen where it did not.
    assert!(gaps.len() <= 2 * silent, "{silent} silent changes, {gaps:?}");
    assert!(silent < links.len() / 2, "{silent} of {} are silent", links.len());
    assert_eq!(end, last);
}

/// What four clients did at once.
fn at_once(act: impl Fn(&mut Client, u64) -> Vec<Link> + Sync) -> Vec<Link> {
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|client| {
                let act = &act;
                scope.spawn(move || act(&mut Client::new(Credential::ROOT), client))
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

#[test]
fn changes_of_one_directory_from_many_clients_form_one_chain() {
    let (_world, mut nfs, dir) = World::folder();
    let born = kept(&nfs.getattr(&dir));
    let links = at_once(|nfs, client| {
        let mut links: Vec<Link> = Vec::new();
        for number in 0..100 {
            let name = format!("{client}.{number}");
            links.push(nfs.try_mkdir(&dir, &name).unwrap().dir_wcc.into());
            if number % 4 == 0 {
                links.push(nfs.setattr(&dir, with_mode(0o700 + number)).unwrap().obj_wcc.into());
            }
            links.push(nfs.rmdir(&dir, &name).unwrap().dir_wcc.into());
        }
        links
    });
    form_one_chain(born, links, kept(&nfs.getattr(&dir)));
}

#[test]
fn changes_of_one_files_data_from_many_clients_form_one_chain() {
    chain_of_one_file(|client, round| match client {
        0 => with_size(round * 1000),
        _ => with_size(100_000),
    });
}

#[test]
fn changes_of_one_files_data_and_mode_from_many_clients_form_one_chain() {
    chain_of_one_file(|_, _| with_mode(0o600));
}

/// Four clients write to one file, and set something now and then.
fn chain_of_one_file(set: impl Fn(u64, u64) -> sattr3 + Sync) {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.put(&file, 0, b"0");
    let born = kept(&nfs.getattr(&file));
    let links = at_once(|nfs, client| {
        let write = |n: u64| {
            let at = (n * 4 + client) * 10;
            let args = write_args(&file, at, b"0123456789", stable_how::UNSTABLE);
            Call::new(NFS_PROGRAM::NFSPROC3_WRITE, &args)
        };
        let mut links: Vec<Link> = Vec::new();
        for round in 0..10 {
            let calls: Vec<Call> = (0..20).map(|n| write(round * 20 + n)).collect();
            let written = nfs.call_all::<WRITE3res>(&calls);
            links.extend(written.into_iter().map(|answer| Link::from(answer.unwrap().file_wcc)));
            links.push(nfs.setattr(&file, set(client, round)).unwrap().obj_wcc.into());
        }
        links
    });
    form_one_chain(born, links, kept(&nfs.getattr(&file)));
}

#[test]
fn a_write_that_takes_the_setuid_bit_shows_so_in_its_answer() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    nfs.chmod(&file, 0o6777);
    let shown = kept(&nfs.getattr(&file));
    let mut user = Client::new(Credential::user(1000));
    let wcc = user.put(&file, 0, b"x").file_wcc;
    let before = wcc.before.unwrap();
    assert_eq!((before.size, nanos(before.mtime), nanos(before.ctime)), shown);
    let after = wcc.after.unwrap();
    assert_eq!(after.mode, 0o777);
    assert_eq!(packed(&nfs.getattr(&file)), packed(&after));
}

#[test]
fn times_never_go_back_however_clients_set_them() {
    let (_world, mut nfs, dir) = World::folder();
    let file = nfs.create(&dir, "file");
    let future = nfstime3 { seconds: u32::MAX - 10, nseconds: 999_999_999 };
    let mut ctime = nanos(nfs.getattr(&file).ctime);
    for step in 0..30_u64 {
        match step % 6 {
            0 => drop(nfs.put(&file, step, b"x")),
            1 => {
                let mtime = set_mtime::SET_TO_CLIENT_TIME(future);
                nfs.setattr(&file, sattr3 { mtime, ..sattr3::default() }).unwrap();
            }
            2 => nfs.chmod(&file, 0o600),
            3 => {
                let mtime = set_mtime::SET_TO_CLIENT_TIME(nfstime3::default());
                nfs.setattr(&file, sattr3 { mtime, ..sattr3::default() }).unwrap();
            }
            4 => drop(nfs.setattr(&file, with_size(step)).unwrap()),
            _ => drop(nfs.link(&file, &dir, format!("{step}")).unwrap()),
        }
        let shown = nfs.getattr(&file);
        assert!(nanos(shown.ctime) > ctime, "step {step}");
        ctime = nanos(shown.ctime);
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let ahead = ctime.saturating_sub(u64::try_from(now.as_nanos()).unwrap());
    assert!(ahead < 1_000_000_000, "the ctime is the server's own, whatever mtime was set");
}

#[test]
fn the_first_answer_of_a_create_is_what_getattr_shows() {
    let (_world, mut nfs, dir) = World::folder();
    let args =
        CREATE3args { where_: place(&dir, "file"), how: createhow3::UNCHECKED(with_mode(0o640)) };
    let call = Call::new(NFS_PROGRAM::NFSPROC3_CREATE, &args);
    let made: CREATE3resok = unpacked::<CREATE3res>(&nfs.send(&call)).unwrap();
    let shown = nfs.getattr(&made.obj.unwrap());
    assert_eq!(packed(&made.obj_attributes.unwrap()), packed(&shown));
    assert_eq!(shown.mtime, shown.ctime);
}
