//! One contract for every store: run on fjall and on its simulated twin.

#![allow(clippy::unwrap_used)]

use catalog::{Batch, FjallSettings, FjallStore, Image, Imaging, MemoryStore, Scan, Store};

fn keys_of<S: Store>(store: &S, from: &[u8], to: &[u8]) -> Vec<Vec<u8>> {
    let mut keys = vec![];
    let mut visit = |key: &[u8], _: &[u8]| {
        keys.push(key.to_vec());
        Scan::Continue
    };
    store.scan(from, to, &mut visit).unwrap();
    keys
}

fn put(pairs: &[(&str, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (key, value) in pairs {
        batch.put(key.as_bytes().to_vec(), value.as_bytes().to_vec());
    }
    batch
}

fn contract<S: Imaging>(store: &S) {
    assert!(store.get(b"a").unwrap().is_none());
    store.apply(put(&[("b", "2"), ("a", "1"), ("c", "3")])).unwrap();
    assert_eq!(store.get(b"a").unwrap().unwrap().as_ref(), b"1");
    assert_eq!(keys_of(store, b"a", b"c"), [b"a".to_vec(), b"b".to_vec()]);

    let mut last_counts = put(&[("a", "x")]);
    last_counts.delete(b"a".to_vec());
    last_counts.put(b"b".to_vec(), b"first".to_vec());
    last_counts.put(b"b".to_vec(), b"second".to_vec());
    store.apply(last_counts).unwrap();
    assert!(store.get(b"a").unwrap().is_none());
    assert_eq!(store.get(b"b").unwrap().unwrap().as_ref(), b"second");

    let mut seen = 0;
    let mut stop_at_once = |_: &[u8], _: &[u8]| {
        seen += 1;
        Scan::Stop
    };
    store.scan(b"a", b"z", &mut stop_at_once).unwrap();
    assert_eq!(seen, 1);

    store.apply(put(&[("big", &"v".repeat(100_000)), ("empty", "")])).unwrap();
    assert_eq!(store.get(b"big").unwrap().unwrap().as_ref().len(), 100_000);
    assert_eq!(store.get(b"empty").unwrap().unwrap().as_ref(), b"");
    for n in 0..2_000 {
        store.apply(put(&[(&format!("n{n:05}"), "v")])).unwrap();
    }
    assert_eq!(keys_of(store, b"n", b"o").len(), 2_000);
    store.checkpoint().unwrap();
    an_image_is_of_one_moment(store);
}

fn an_image_is_of_one_moment<S: Imaging>(store: &S) {
    let all = keys_of(store, b"", b"z");
    let mut image = store.image().unwrap();
    let mut removal = Batch::default();
    removal.delete(b"n00007".to_vec());
    removal.put(b"later".to_vec(), b"".to_vec());
    store.apply(removal).unwrap();
    let mut keys = vec![];
    loop {
        let piece = image.next(1_000).unwrap();
        let bytes: usize = piece.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= 1_000 || piece.len() == 1, "{bytes} bytes in {}", piece.len());
        match piece.is_empty() {
            true => break,
            false => keys.extend(piece.into_iter().map(|(key, _)| key)),
        }
    }
    assert_eq!(keys, all);
    assert!(image.next(1_000).unwrap().is_empty(), "the end is the end");
}

#[test]
fn the_simulated_store_keeps_the_contract() {
    contract(&MemoryStore::default());
}

#[test]
fn fjall_keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract(&FjallStore::open(FjallSettings::in_dir(dir.path().join("meta"))).unwrap());
}

#[test]
fn fjall_has_everything_again_after_it_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let settings = FjallSettings::in_dir(dir.path().join("meta"));
    let store = FjallStore::open(settings.clone()).unwrap();
    store.apply(put(&[("a", "1")])).unwrap();
    drop(store);
    let store = FjallStore::open(settings).unwrap();
    assert_eq!(store.get(b"a").unwrap().unwrap().as_ref(), b"1");
}

#[test]
fn a_power_cut_takes_what_no_checkpoint_covered() {
    let store = MemoryStore::default();
    store.apply(put(&[("a", "1")])).unwrap();
    store.checkpoint().unwrap();
    store.apply(put(&[("b", "2")])).unwrap();
    store.power_cut();
    assert!(store.get(b"a").unwrap().is_some());
    assert!(store.get(b"b").unwrap().is_none());
}
