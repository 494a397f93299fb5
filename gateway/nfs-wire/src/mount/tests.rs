use super::*;
use crate::xdr::put_opaque;

fn mnt(path: &[u8]) -> Result<Args, BadArgs> {
    let mut out = BytesMut::new();
    put_opaque(&mut out, path);
    Args::decode(Procedure::Mnt.code(), &out.freeze())
}

#[test]
fn a_path_over_the_protocols_limit_decodes_so_that_it_can_be_refused_by_name() {
    let path = vec![b'/'; DIRPATH_BYTES_MAX + 1];
    assert_eq!(mnt(&path), Ok(Args::Mnt(Path(path.into()))));
    assert!(mnt(&[b'/'; 4097]).is_err());
}

#[test]
fn an_unknown_procedure_is_told_from_garbage() {
    assert_eq!(Args::decode(6, &Bytes::new()), Err(BadArgs::UnknownProcedure));
    assert_eq!(Args::decode(1, &Bytes::new()), Err(BadArgs::Garbage(Malformed::Short)));
}

#[test]
fn more_flavors_than_there_are_bytes_are_refused() {
    let mut out = BytesMut::new();
    out.put_u32(MNT3_OK);
    FileHandle::new(b"root").unwrap().put(&mut out);
    put_length(&mut out, 64);
    out.put_u32(1);
    assert_eq!(Reply::decode(Procedure::Mnt, &out.freeze()), Err(Malformed::Short));
}
