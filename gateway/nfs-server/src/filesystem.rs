//! FSSTAT, FSINFO and PATHCONF (RFC 1813 sections 3.3.18 to 3.3.20): of any object, since all
//! objects of a volume are alike.

use model::{Attributes, FILE_BYTES_MAX, LINKS_MAX, NAME_BYTES_MAX};
use nfs_wire::nfs3::{
    FSF3_CANSETTIME, FSF3_HOMOGENEOUS, FSF3_LINK, FSF3_SYMLINK, FileHandle, FsinfoArgs, FsinfoOk,
    FsstatArgs, FsstatOk, Nfstime3, PathconfArgs, PathconfOk, PostOpAttr,
};
use volume::{Ports, Refused, Target};

use crate::door::{Answer, Door, Stop, post_op};
use crate::settings::{READ_BYTES_MAX, WRITE_BYTES_MAX};

impl<P: Ports> Door<'_, P> {
    pub(crate) async fn fsstat(&self, args: FsstatArgs) -> Answer<FsstatOk, PostOpAttr> {
        let target = self.resolve(&args.fsroot).await?;
        match self.ports().space(&target.ask, target.object).await {
            Ok(space) => Ok(FsstatOk {
                obj_attributes: post_op(target.ask.volume, Some(&space.attributes)),
                tbytes: space.bytes_total,
                fbytes: space.bytes_free,
                abytes: space.bytes_free,
                tfiles: space.objects_total,
                ffiles: space.objects_free,
                afiles: space.objects_free,
                invarsec: 0,
            }),
            Err(refused) => Err(failure(&target, &refused)),
        }
    }

    pub(crate) async fn fsinfo(&self, args: FsinfoArgs) -> Answer<FsinfoOk, PostOpAttr> {
        let (target, attributes) = self.any_object(&args.fsroot).await?;
        Ok(FsinfoOk {
            obj_attributes: post_op(target.ask.volume, Some(&attributes)),
            rtmax: READ_BYTES_MAX,
            rtpref: READ_BYTES_MAX,
            rtmult: PAGE_BYTES,
            wtmax: WRITE_BYTES_MAX,
            wtpref: WRITE_BYTES_MAX,
            wtmult: PAGE_BYTES,
            dtpref: LISTING_BYTES_PREFERRED,
            maxfilesize: FILE_BYTES_MAX,
            time_delta: Nfstime3 { seconds: 0, nseconds: 1 },
            properties: FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME,
        })
    }

    pub(crate) async fn pathconf(&self, args: PathconfArgs) -> Answer<PathconfOk, PostOpAttr> {
        let (target, attributes) = self.any_object(&args.object).await?;
        Ok(PathconfOk {
            obj_attributes: post_op(target.ask.volume, Some(&attributes)),
            linkmax: LINKS_MAX,
            name_max: NAME_BYTES_MAX as u32,
            no_trunc: true,
            chown_restricted: true,
            case_insensitive: false,
            case_preserving: true,
        })
    }

    async fn any_object(&self, handle: &FileHandle) -> Answer<(Target, Attributes), PostOpAttr> {
        let target = self.resolve(handle).await?;
        match self.ports().attributes(&target.ask, target.object).await {
            Ok(attributes) => Ok((target, attributes)),
            Err(refused) => Err(failure(&target, &refused)),
        }
    }
}

fn failure(target: &Target, refused: &Refused) -> Stop<PostOpAttr> {
    let attributes = refused.attached.object.after.as_ref();
    Stop::new(refused.refusal, post_op(target.ask.volume, attributes))
}

/// Sizes of READ and WRITE are best multiples of a page.
const PAGE_BYTES: u32 = 4096;

/// Some 300 entries with attributes and handles: enough to hide the way there and back, little
/// enough to be there soon.
const LISTING_BYTES_PREFERRED: u32 = 64 << 10;
