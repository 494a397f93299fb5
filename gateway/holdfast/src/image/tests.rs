use std::io;

use super::*;

const KEY: &str = "RWRnEuVDdNPGudS+GEt8yIfRpGB1bZ2JwBC+Q0XyJhZVyTaY7u0jWyFE";
const BOOT_FILE: &[u8] = b"MZ and the rest of a boot file";
const BOOT_FILE_SIGNED: &str = "untrusted comment: signature from minisign secret key\n\
     RURnEuVDdNPGuUsPDMBBrcG2sptTXFjR3PkLPx9QRfn8sVBNw8cpbx62rOHxHmXpVzf+LoDamNz9QhKRQnoZLTUFRDBli3Bb9Aw=\n\
     trusted comment: a boot file\n\
     9djPF9d5s/prB4uvAEUksxzzF4RPzP1eCRDDhoZQ/4AdWlQbCfcvnPvgDCOHJWHYzhAV+x31VvYygpzA5bBBAg==\n";
const NO_BOOT_FILE: &[u8] = b"not even that";
const NO_BOOT_FILE_SIGNED: &str = "untrusted comment: signature from minisign secret key\n\
     RURnEuVDdNPGuerbRp+ZhtumANNZ3txq/X3Ugl9vWox1IxFjt3hbh/p02z66NPBAYxFCJIj0cqDB18TvlaH49CbHBVxk/MQs9wc=\n\
     trusted comment: b\n\
     JGEC1QhtJd1YKb3xgiap7PoU8veVcTOtNrHJKi59UU0hqnrn4c2gYZWkPykcX+V6t8FWzJGi84KJTaIzg29oDg==\n";
/// The boot file's, with another key.
const SIGNED_BY_ANOTHER: &str = "untrusted comment: signature from minisign secret key\n\
     RURQqqxaD9wzwr0fBOedeIVpFn/3nLqyk+L06d3KPQhkjr5tuh50bMvxnQKLktl4Y1wC0eNdpqSkjmoLLzFdRkjGimCxmq6isg8=\n\
     trusted comment: c\n\
     Vj46XezcY1xU3CZcXX6b9SpHcHwAF7MoczdyUtXTad3DcRdkDgl+QSEH9uBw9YkcQAGA/w2glVdZKut7DGTbCQ==\n";

/// An EFI partition with these boot files, of which `entry` runs.
struct World {
    dir: tempfile::TempDir,
    image: Image,
}

impl World {
    fn new(files: &[&str], entry: &str, key: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join(FOLDER);
        fs::create_dir_all(&folder).unwrap();
        for file in files {
            fs::write(folder.join(file), file).unwrap();
        }
        let config = config::Image {
            esp: dir.path().to_owned(),
            booted: entry.to_owned(),
            public_key: key.to_owned(),
        };
        Self { dir, image: Image::new(&config).unwrap() }
    }

    /// The files there are.
    fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join(FOLDER)).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        names
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_image_is_booted_next_and_what_runs_and_what_is_good_stay() {
    let files = ["holdfast-00000001.efi", "holdfast-00000002+0-1.efi", "holdfast-00000003.efi"];
    let world = World::new(&files, files[2], KEY);
    fs::write(world.dir.path().join(FOLDER).join("another.efi"), "of somebody else").unwrap();
    let taken = world.image.take(BOOT_FILE_SIGNED, BOOT_FILE.into()).await.unwrap();
    assert_eq!(taken, "holdfast-00000004+1.efi");
    assert_eq!(world.files(), ["another.efi", files[0], files[2], taken.as_str()]);
    assert_eq!(fs::read(world.dir.path().join(FOLDER).join(taken)).unwrap(), BOOT_FILE);
    let view = world.image.view().unwrap();
    let states: Vec<_> =
        view.slots.iter().map(|slot| (slot.state.as_str(), slot.running)).collect();
    assert_eq!(states, [("on trial", false), ("kept", true), ("kept", false)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_signed_well_changes_nothing() {
    let files = ["holdfast-00000001.efi", "holdfast-00000002.efi"];
    let world = World::new(&files, files[1], KEY);
    for (signature, bytes) in [
        (SIGNED_BY_ANOTHER, BOOT_FILE),
        (BOOT_FILE_SIGNED, NO_BOOT_FILE),
        (BOOT_FILE_SIGNED, b"MZ and the rest of a boot filf"),
        (BOOT_FILE_SIGNED, b""),
        ("nothing of that kind", BOOT_FILE),
        ("", BOOT_FILE),
    ] {
        let refused = world.image.take(signature, bytes.into()).await.unwrap_err();
        assert!(matches!(refused, ImageRefusal::BadSignature(_)), "{refused}");
        assert_eq!(world.files(), files);
    }
    let refused = world.image.take(NO_BOOT_FILE_SIGNED, NO_BOOT_FILE.into()).await.unwrap_err();
    assert!(matches!(refused, ImageRefusal::NoBootFile), "{refused}");
    assert_eq!(world.files(), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_or_never_ends_changes_nothing() {
    let files = ["holdfast-00000001.efi"];
    let world = World::new(&files, files[0], KEY);
    let broken = io::Error::other("the cable");
    let pieces = [Ok(&BOOT_FILE[..9]), Err(broken)];
    let upload = Upload::from_stream(futures_util::stream::iter(pieces));
    let refused = world.image.take(BOOT_FILE_SIGNED, upload).await.unwrap_err();
    assert!(matches!(refused, ImageRefusal::Broken(_)), "{refused}");
    let piece = hyper::body::Bytes::from(vec![0; 1 << 20]);
    let endless = futures_util::stream::repeat_with(move || Ok::<_, io::Error>(piece.clone()));
    let upload = Upload::from_stream(endless);
    let refused = world.image.take(BOOT_FILE_SIGNED, upload).await.unwrap_err();
    assert!(matches!(refused, ImageRefusal::TooLong), "{refused}");
    assert_eq!(world.files(), files);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appliance_without_key_or_that_knows_not_what_runs_takes_nothing() {
    let files = ["holdfast-00000001.efi"];
    let world = World::new(&files, files[0], "");
    let refused = world.image.take(BOOT_FILE_SIGNED, BOOT_FILE.into()).await.unwrap_err();
    assert!(matches!(refused, ImageRefusal::NoKey), "{refused}");
    assert!(world.image.view().unwrap().refuses.unwrap().contains("public_key"));
    let world = World::new(&files, "elsewhere.efi", KEY);
    let refused = world.image.take(BOOT_FILE_SIGNED, BOOT_FILE.into()).await.unwrap_err();
    assert!(matches!(refused, ImageRefusal::UnknownSlot(_)), "{refused}");
    assert_eq!(world.files(), files);
    let none = Image::new(&config::Image::default()).unwrap();
    assert!(matches!(none.view(), Err(ImageRefusal::NoImage)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_boots_what_was_good_before_once_more() {
    let files = ["holdfast-00000001.efi", "holdfast-00000002+0-1.efi", "holdfast-00000003.efi"];
    let world = World::new(&files, files[2], KEY);
    assert_eq!(world.image.roll_back().await.unwrap(), "holdfast-00000004+1.efi");
    assert_eq!(world.files(), [files[1], files[2], "holdfast-00000004+1.efi"]);
    let refused = world.image.roll_back().await.unwrap_err();
    assert!(matches!(refused, ImageRefusal::NoPrevious), "{refused}");
}

#[test]
fn a_key_that_is_none_is_refused_with_what_is_wrong() {
    let config = config::Image { public_key: "RWRn".to_owned(), ..config::Image::default() };
    let refused = Image::new(&config).err().unwrap();
    assert!(refused.contains("RWRn") && refused.contains("minisign"), "{refused}");
}
