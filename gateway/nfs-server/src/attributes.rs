//! GETATTR, SETATTR and ACCESS (RFC 1813 sections 3.3.1, 3.3.2 and 3.3.4).

use nfs_wire::nfs3::{
    AccessArgs, AccessBits, AccessOk, Fattr3, GetattrArgs, PostOpAttr, SetattrArgs, WccData,
};
use volume::{Ports, Refused, Target, access_granted};

use crate::door::{Answer, Door, Stop, fattr, post_op, set_attributes, timestamp, wcc_data};

impl<P: Ports> Door<'_, P> {
    pub(crate) async fn getattr(&self, args: GetattrArgs) -> Answer<Fattr3, ()> {
        let Target { ask, object } = self.resolve(&args.object).await?;
        match self.ports().attributes(&ask, object).await {
            Ok(attributes) => Ok(fattr(ask.volume, &attributes)),
            Err(refused) => Err(Stop::new(refused.refusal, ())),
        }
    }

    pub(crate) async fn setattr(&self, args: SetattrArgs) -> Answer<WccData, WccData> {
        let target = self.resolve(&args.object).await?;
        let volume = target.ask.volume;
        match self.set(&target, &args).await {
            Ok(wcc) => Ok(wcc_data(volume, &wcc)),
            Err(refused) => {
                Err(Stop::new(refused.refusal, wcc_data(volume, &refused.attached.object)))
            }
        }
    }

    async fn set(&self, target: &Target, args: &SetattrArgs) -> Result<model::Wcc, Refused> {
        self.refuse_if_read_only(target).await?;
        match set_attributes(&args.new_attributes) {
            Ok(set) => {
                let guard = args.guard.map(timestamp);
                self.ports().set_attributes(&target.ask, target.object, set, guard).await
            }
            Err(refusal) => Err(self.refuse(target, refusal).await),
        }
    }

    pub(crate) async fn access(&self, args: AccessArgs) -> Answer<AccessOk, PostOpAttr> {
        let Target { ask, object } = self.resolve(&args.object).await?;
        match self.ports().attributes(&ask, object).await {
            Ok(attributes) => {
                let asked = volume::AccessBits(args.access.0);
                Ok(AccessOk {
                    obj_attributes: post_op(ask.volume, Some(&attributes)),
                    access: AccessBits(access_granted(&ask, &attributes, asked).0),
                })
            }
            Err(refused) => {
                let attributes = refused.attached.object.after.as_ref();
                Err(Stop::new(refused.refusal, post_op(ask.volume, attributes)))
            }
        }
    }
}
