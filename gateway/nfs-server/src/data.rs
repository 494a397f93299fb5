//! READ, WRITE and COMMIT (RFC 1813 sections 3.3.6, 3.3.7 and 3.3.21). The payload passes through
//! as the `Bytes` it came in.

use bytes::Bytes;
use model::{FILE_BYTES_MAX, Refusal, Span, Stability};
use nfs_wire::nfs3::{
    CommitArgs, CommitOk, PostOpAttr, ReadArgs, ReadOk, StableHow, WccData, WriteArgs, WriteOk,
    Writeverf3,
};
use volume::{Ports, Refused, Target, WriteRequest, Wrote};

use crate::door::{Answer, Door, Stop, post_op, wcc_data};
use crate::settings::{READ_BYTES_MAX, WRITE_BYTES_MAX};

impl<P: Ports> Door<'_, P> {
    pub(crate) async fn read(&self, args: ReadArgs) -> Answer<ReadOk, PostOpAttr> {
        let Target { ask, object } = self.resolve(&args.file).await?;
        let span = readable_span(args.offset, args.count);
        match self.ports().read(&ask, object, span).await {
            Ok(read) => {
                assert!(read.bytes.len() as u64 <= span.len(), "a READ gives what was asked for");
                Ok(ReadOk {
                    file_attributes: post_op(ask.volume, Some(&read.attributes)),
                    eof: read.eof,
                    data: read.bytes,
                })
            }
            Err(refused) => {
                let attributes = refused.attached.object.after.as_ref();
                Err(Stop::new(refused.refusal, post_op(ask.volume, attributes)))
            }
        }
    }

    pub(crate) async fn write(&self, args: WriteArgs) -> Answer<WriteOk, WccData> {
        let target = self.resolve(&args.file).await?;
        let volume = target.ask.volume;
        match self.put(&target, args).await {
            Ok(wrote) => Ok(WriteOk {
                file_wcc: wcc_data(volume, &wrote.wcc),
                count: wrote.written.count,
                committed: stable_how(wrote.written.committed),
                verf: Writeverf3(wrote.written.verifier.0),
            }),
            Err(refused) => {
                Err(Stop::new(refused.refusal, wcc_data(volume, &refused.attached.object)))
            }
        }
    }

    async fn put(&self, target: &Target, args: WriteArgs) -> Result<Wrote, Refused> {
        self.refuse_if_read_only(target).await?;
        let payload = writable_part(args.data);
        let Some(span) = Span::new(args.offset, payload.len() as u64) else {
            return Err(self.refuse(target, Refusal::FileTooBig).await);
        };
        let (object, stability) = (target.object, stability(args.stable));
        let request = WriteRequest { object, span, payload, stability };
        self.ports().write(&target.ask, request).await
    }

    /// A range is allowed to be ignored, and is: COMMIT is always of the whole object.
    pub(crate) async fn commit(&self, args: CommitArgs) -> Answer<CommitOk, WccData> {
        let Target { ask, object } = self.resolve(&args.file).await?;
        match self.ports().commit(&ask, object).await {
            Ok(committed) => Ok(CommitOk {
                file_wcc: wcc_data(ask.volume, &committed.wcc),
                verf: Writeverf3(committed.verifier.0),
            }),
            Err(refused) => {
                let wcc = wcc_data(ask.volume, &refused.attached.object);
                Err(Stop::new(refused.refusal, wcc))
            }
        }
    }
}

/// What a READ can get at all. Nothing lies beyond the largest file, so a READ there finds the
/// end of the file, as it does everywhere behind the last byte.
fn readable_span(offset: u64, count: u32) -> Span {
    let offset = offset.min(FILE_BYTES_MAX);
    let count = u64::from(count.min(READ_BYTES_MAX)).min(FILE_BYTES_MAX - offset);
    Span::new(offset, count).expect("cut to end within the largest file")
}

/// A WRITE over `wtmax` is answered with a short count, and the client sends the rest.
fn writable_part(mut data: Bytes) -> Bytes {
    data.truncate(WRITE_BYTES_MAX as usize);
    data
}

fn stability(asked: StableHow) -> Stability {
    match asked {
        StableHow::Unstable => Stability::Unstable,
        StableHow::DataSync => Stability::DataSync,
        StableHow::FileSync => Stability::FileSync,
    }
}

fn stable_how(done: Stability) -> StableHow {
    match done {
        Stability::Unstable => StableHow::Unstable,
        Stability::DataSync => StableHow::DataSync,
        Stability::FileSync => StableHow::FileSync,
    }
}

#[cfg(test)]
mod tests;
