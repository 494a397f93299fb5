use super::*;
use crate::nfs3::SetTime;
use crate::nfs3::{FHSIZE, NAME_DECODE_BYTES_MAX, call_record_bytes_max};
use crate::xdr::put_opaque;

fn handle(bytes: usize) -> FileHandle {
    FileHandle::new(&vec![0xab; bytes]).unwrap()
}

fn lookup(handle: &[u8], name: &[u8]) -> Result<Args, BadArgs> {
    let mut out = BytesMut::new();
    put_opaque(&mut out, handle);
    put_opaque(&mut out, name);
    Args::decode(Procedure::Lookup.code(), &out.freeze())
}

fn write(count: u32, length: u32, data: &[u8]) -> Result<Args, BadArgs> {
    let mut out = BytesMut::new();
    handle(32).put(&mut out);
    0_u64.put(&mut out);
    count.put(&mut out);
    StableHow::Unstable.put(&mut out);
    length.put(&mut out);
    out.put_slice(data);
    Args::decode(Procedure::Write.code(), &out.freeze())
}

#[test]
fn a_handle_of_any_length_up_to_64_decodes() {
    for length in 0..=FHSIZE {
        assert!(lookup(&vec![1; length], b"name").is_ok());
    }
    let refused = lookup(&[1; FHSIZE + 1], b"name");
    let too_long = Malformed::TooLong { claimed: 65, limit: 64 };
    assert_eq!(refused, Err(BadArgs::Garbage(too_long)));
}

#[test]
fn a_name_over_255_bytes_decodes_so_that_it_can_be_refused_by_name() {
    for length in [0, 255, 256, NAME_DECODE_BYTES_MAX] {
        let name = vec![b'n'; length];
        let Ok(Args::Lookup(args)) = lookup(b"handle", &name) else { panic!("{length} bytes") };
        assert_eq!(args.what.name[..], name);
    }
    assert!(lookup(b"handle", &[b'n'; NAME_DECODE_BYTES_MAX + 1]).is_err());
}

#[test]
fn an_unknown_procedure_is_told_from_garbage() {
    let decoded = Args::decode(22, &Bytes::new());
    assert_eq!(decoded, Err(BadArgs::UnknownProcedure));
    let decoded = Args::decode(21, &Bytes::new());
    assert_eq!(decoded, Err(BadArgs::Garbage(Malformed::Short)));
}

#[test]
fn the_data_of_a_write_shares_the_memory_of_its_record() {
    let args = WriteArgs {
        file: handle(32),
        offset: 1 << 40,
        stable: StableHow::FileSync,
        data: Bytes::from(vec![7; 1000]),
    };
    let wire = args.to_bytes();
    let Ok(Args::Write(decoded)) = Args::decode(7, &wire) else { panic!("no WRITE") };
    assert_eq!(decoded.data.as_ptr(), wire[wire.len() - 1000..].as_ptr());
}

#[test]
fn a_count_that_is_not_the_length_of_the_data_is_garbage() {
    assert!(write(4, 4, b"data").is_ok());
    let differs = Malformed::CountDiffers { count: 3, data: 4 };
    assert_eq!(write(3, 4, b"data"), Err(BadArgs::Garbage(differs)));
    assert_eq!(write(u32::MAX, u32::MAX, b"data"), Err(BadArgs::Garbage(Malformed::Short)));
}

#[test]
fn a_write_of_nothing_decodes() {
    let Ok(Args::Write(args)) = write(0, 0, b"") else { panic!("no WRITE") };
    assert!(args.data.is_empty());
}

#[test]
fn mknod_of_what_it_does_not_create_decodes() {
    for what in [MknodData::Reg, MknodData::Dir, MknodData::Lnk] {
        let place = DirOp { dir: handle(8), name: Name(Bytes::from_static(b"n")) };
        let args = Args::Mknod(MknodArgs { place, what });
        assert_eq!(Args::decode(11, &args.to_bytes()), Ok(args));
    }
}

#[test]
fn the_largest_calls_fit_into_the_record_that_is_promised_for_them() {
    let long = || Name(Bytes::from(vec![b'n'; NAME_DECODE_BYTES_MAX]));
    let place = || DirOp { dir: handle(FHSIZE), name: long() };
    let time = SetTime::ToClientTime(Nfstime3 { seconds: 1, nseconds: 1 });
    let attributes = Sattr3 {
        mode: Some(1),
        uid: Some(1),
        gid: Some(1),
        size: Some(1),
        atime: time,
        mtime: time,
    };
    let data = Bytes::from(vec![0; 1 << 20]);
    let write = WriteArgs { file: handle(FHSIZE), offset: 0, stable: StableHow::Unstable, data };
    let symlink = SymlinkArgs { place: place(), attributes, target: Path(long().0) };
    let rename = RenameArgs { from: place(), to: place() };
    let header = crate::rpc::CALL_HEADER_BYTES_MAX;
    assert!(header + write.to_bytes().len() <= call_record_bytes_max(1 << 20));
    for args in [Args::Symlink(symlink), Args::Rename(rename)] {
        assert!(header + args.to_bytes().len() <= call_record_bytes_max(0));
    }
}
