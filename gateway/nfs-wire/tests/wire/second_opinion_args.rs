//! A second opinion on the arguments of every procedure of NFS v3.

use bytes::Bytes;
use nfs_wire::Body;
use nfs_wire::nfs3::{Args, CreateHow, MknodData};
use nfs3_types::nfs3 as theirs;
use proptest::prelude::*;

use crate::second_opinion::{
    agree, device, dir_op, handle, opaque, option, path, sattr, stable, time,
};
use crate::strategies::nfs3_args;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]
    #[test]
    fn both_implementations_agree_on_nfs3_args(args in nfs3_args()) {
        let wire = args.to_bytes();
        match &args {
            Args::Null => assert!(wire.is_empty()),
            Args::Getattr(_)
            | Args::Setattr(_)
            | Args::Access(_)
            | Args::Readlink(_)
            | Args::Fsstat(_)
            | Args::Fsinfo(_)
            | Args::Pathconf(_) => agree_on_attributes(&wire, &args),
            Args::Read(_) | Args::Write(_) | Args::Commit(_) => agree_on_data(&wire, &args),
            Args::Lookup(_) | Args::Readdir(_) | Args::Readdirplus(_) => {
                agree_on_look_ups(&wire, &args);
            }
            Args::Create(_) | Args::Mkdir(_) | Args::Symlink(_) | Args::Mknod(_) => {
                agree_on_creation(&wire, &args);
            }
            Args::Remove(_) | Args::Rmdir(_) | Args::Rename(_) | Args::Link(_) => {
                agree_on_names(&wire, &args);
            }
        }
    }
}

fn agree_on_attributes(wire: &Bytes, args: &Args) {
    match args {
        Args::Getattr(args) => {
            agree(wire, &theirs::GETATTR3args { object: handle(&args.object) });
        }
        Args::Setattr(args) => agree(
            wire,
            &theirs::SETATTR3args {
                object: handle(&args.object),
                new_attributes: sattr(&args.new_attributes),
                guard: option(args.guard.map(time)),
            },
        ),
        Args::Access(args) => agree(
            wire,
            &theirs::ACCESS3args { object: handle(&args.object), access: args.access.0 },
        ),
        Args::Readlink(args) => {
            agree(wire, &theirs::READLINK3args { symlink: handle(&args.symlink) });
        }
        Args::Fsstat(args) => agree(wire, &theirs::FSSTAT3args { fsroot: handle(&args.fsroot) }),
        Args::Fsinfo(args) => agree(wire, &theirs::FSINFO3args { fsroot: handle(&args.fsroot) }),
        Args::Pathconf(args) => {
            agree(wire, &theirs::PATHCONF3args { object: handle(&args.object) });
        }
        other => panic!("{other:?}"),
    }
}

fn agree_on_data(wire: &Bytes, args: &Args) {
    match args {
        Args::Read(args) => agree(
            wire,
            &theirs::READ3args { file: handle(&args.file), offset: args.offset, count: args.count },
        ),
        Args::Write(args) => agree(
            wire,
            &theirs::WRITE3args {
                file: handle(&args.file),
                offset: args.offset,
                count: u32::try_from(args.data.len()).unwrap(),
                stable: stable(args.stable),
                data: opaque(&args.data),
            },
        ),
        Args::Commit(args) => agree(
            wire,
            &theirs::COMMIT3args {
                file: handle(&args.file),
                offset: args.offset,
                count: args.count,
            },
        ),
        other => panic!("{other:?}"),
    }
}

fn agree_on_look_ups(wire: &Bytes, args: &Args) {
    match args {
        Args::Lookup(args) => agree(wire, &theirs::LOOKUP3args { what: dir_op(&args.what) }),
        Args::Readdir(args) => agree(
            wire,
            &theirs::READDIR3args {
                dir: handle(&args.dir),
                cookie: args.cookie,
                cookieverf: theirs::cookieverf3(args.cookieverf.0),
                count: args.count,
            },
        ),
        Args::Readdirplus(args) => agree(
            wire,
            &theirs::READDIRPLUS3args {
                dir: handle(&args.dir),
                cookie: args.cookie,
                cookieverf: theirs::cookieverf3(args.cookieverf.0),
                dircount: args.dircount,
                maxcount: args.maxcount,
            },
        ),
        other => panic!("{other:?}"),
    }
}

fn agree_on_creation(wire: &Bytes, args: &Args) {
    match args {
        Args::Create(args) => {
            let how = match &args.how {
                CreateHow::Unchecked(to) => theirs::createhow3::UNCHECKED(sattr(to)),
                CreateHow::Guarded(to) => theirs::createhow3::GUARDED(sattr(to)),
                CreateHow::Exclusive(verifier) => {
                    theirs::createhow3::EXCLUSIVE(theirs::createverf3(verifier.0))
                }
            };
            agree(wire, &theirs::CREATE3args { where_: dir_op(&args.place), how });
        }
        Args::Mkdir(args) => agree(
            wire,
            &theirs::MKDIR3args {
                where_: dir_op(&args.place),
                attributes: sattr(&args.attributes),
            },
        ),
        Args::Symlink(args) => {
            let symlink = theirs::symlinkdata3 {
                symlink_attributes: sattr(&args.attributes),
                symlink_data: path(&args.target),
            };
            agree(wire, &theirs::SYMLINK3args { where_: dir_op(&args.place), symlink });
        }
        Args::Mknod(args) => {
            let what = match &args.what {
                MknodData::Chr(to, spec) => theirs::mknoddata3::NF3CHR(theirs::devicedata3 {
                    dev_attributes: sattr(to),
                    spec: device(*spec),
                }),
                MknodData::Blk(to, spec) => theirs::mknoddata3::NF3BLK(theirs::devicedata3 {
                    dev_attributes: sattr(to),
                    spec: device(*spec),
                }),
                MknodData::Sock(to) => theirs::mknoddata3::NF3SOCK(sattr(to)),
                MknodData::Fifo(to) => theirs::mknoddata3::NF3FIFO(sattr(to)),
                // Theirs has no encoding for the types that MKNOD does not create.
                MknodData::Reg | MknodData::Dir | MknodData::Lnk => return,
            };
            agree(wire, &theirs::MKNOD3args { where_: dir_op(&args.place), what });
        }
        other => panic!("{other:?}"),
    }
}

fn agree_on_names(wire: &Bytes, args: &Args) {
    match args {
        Args::Remove(args) => agree(wire, &theirs::REMOVE3args { object: dir_op(&args.object) }),
        Args::Rmdir(args) => agree(wire, &theirs::RMDIR3args { object: dir_op(&args.object) }),
        Args::Rename(args) => {
            agree(wire, &theirs::RENAME3args { from: dir_op(&args.from), to: dir_op(&args.to) });
        }
        Args::Link(args) => {
            agree(wire, &theirs::LINK3args { file: handle(&args.file), link: dir_op(&args.link) });
        }
        other => panic!("{other:?}"),
    }
}
