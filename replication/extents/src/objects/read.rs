//! READ: from memory without a change of thread, from the disk in the blocking pool.

use std::{io, sync::Arc};

use bytes::BytesMut;
use metrics::{Counter, counter};
use model::{DataFacts, ObjectId, Refusal, Span};
use tracing::warn;

use super::{METRIC_READS, Objects, ReadDone, blocking, refresh_used};
use crate::{
    BackingFile, Wait,
    core::{ReadPlan, ShortRead},
    object::{Need, Running},
};

/// The most bytes that one read returns; more than any door asks for.
pub const READ_BYTES_MAX: u64 = 4 << 20;

/// Where reads found their bytes; resolved once, so that counting costs an atomic operation.
pub(super) struct Counted {
    from_memory: Counter,
    from_disk: Counter,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            from_memory: counter!(METRIC_READS, "from" => "memory"),
            from_disk: counter!(METRIC_READS, "from" => "disk"),
        }
    }
}

/// A read that has its turn.
struct Reading {
    running: Running,
    file: Arc<dyn BackingFile>,
    span: Span,
    eof: bool,
    facts: DataFacts,
    bytes: BytesMut,
}

impl Objects {
    /// The bytes of `span`, as many as there are, up to [`READ_BYTES_MAX`]. Waits for changes of
    /// those bytes that came before it.
    pub async fn read(
        &self,
        object: ObjectId,
        has_data: bool,
        span: Span,
    ) -> Result<ReadDone, Refusal> {
        let object = self.shared.table.get(object)?;
        let len = span.len().min(READ_BYTES_MAX);
        let span = Span::new(span.offset(), len).ok_or(Refusal::Invalid)?;
        let begun = self.shared.when_ready(&object, has_data, Need::File, |object, state| {
            refresh_used(state);
            let plan = state.loaded_mut().begin_read(span)?;
            let running = plan.ticket.map(|ticket| Running::new(Arc::clone(object), ticket));
            Ok((plan, running, state.file.clone()))
        });
        let (plan, running, file) = begun.await?;
        let ReadPlan { span, eof, facts, .. } = plan;
        let (Some(running), Some(file)) = (running, file) else {
            return Ok(ReadDone { bytes: BytesMut::new().freeze(), eof, facts });
        };
        running.turn().await;
        let mut reading = Reading {
            running,
            file,
            span,
            eof,
            facts,
            bytes: BytesMut::with_capacity(span.len() as usize),
        };
        match reading.step(Wait::Never) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(reading.failed(&error)),
        }
        if reading.rest().is_empty() {
            self.shared.reads.from_memory.increment(1);
            return reading.finish();
        }
        self.shared.reads.from_disk.increment(1);
        blocking(move || {
            while !reading.rest().is_empty() {
                match reading.step(Wait::AsNeeded) {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => return Err(reading.failed(&error)),
                }
            }
            reading.finish()
        })
        .await?
    }
}

impl Reading {
    fn rest(&self) -> Span {
        let done = self.bytes.len() as u64;
        Span::new(self.span.offset() + done, self.span.len() - done)
            .expect("no more is read than the span has")
    }

    fn step(&mut self, wait: Wait) -> io::Result<usize> {
        let rest = self.rest();
        self.file.read(rest, &mut self.bytes, wait)
    }

    /// The bytes can't be read; writes are not concerned.
    fn failed(self, error: &io::Error) -> Refusal {
        let object = self.running.object().id;
        warn!(%object, offset = self.rest().offset(), %error, "a read failed");
        self.running.finish(|core, ticket| core.finish_read(ticket));
        Refusal::Fault
    }

    fn finish(self) -> Result<ReadDone, Refusal> {
        let rest = self.rest();
        let object = Arc::clone(self.running.object());
        let (short, now) = self.running.finish(|core, ticket| {
            core.finish_read(ticket);
            (core.judge_short_read(rest.offset()), core.facts())
        });
        let bytes = self.bytes.freeze();
        if rest.is_empty() {
            return Ok(ReadDone { bytes, eof: self.eof, facts: self.facts });
        }
        match short {
            ShortRead::End => Ok(ReadDone { bytes, eof: true, facts: now }),
            ShortRead::Early => Err(Refusal::Busy),
            ShortRead::Missing => {
                let offset = rest.offset();
                warn!(object = %object.id, offset, "a backing file is shorter than its object");
                Err(Refusal::Fault)
            }
        }
    }
}
