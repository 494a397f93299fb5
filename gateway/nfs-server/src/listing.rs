//! READDIR and READDIRPLUS (RFC 1813 sections 3.3.16 and 3.3.17).
//!
//! Entries are fetched in runs of about what still fits, so that little is read in vain.
//! Invariants: a page is empty only at the end of the directory (otherwise TOOSMALL), and `eof`
//! is said exactly with the last entry.

use bytes::BytesMut;
use model::{Cookie, Refusal, VolumeId};
use nfs_wire::nfs3::{
    Cookieverf3, DirEntry, DirEntryPlus, FileHandle, ListOk, ListingBuilder, ListingKind,
    PageLimits, Plain, Plus, PostOpAttr, ReaddirArgs, ReaddirOk, ReaddirplusArgs, ReaddirplusOk,
};
use volume::{Entry, Page, Ports, Refused, Target, cookie_verifier};

use crate::door::{Answer, Door, Stop, post_op};
use crate::settings::LISTING_BYTES_MAX;

/// Which part of which directory a client wants.
struct Wanted<'a> {
    dir: &'a FileHandle,
    after: Cookie,
    verifier: Cookieverf3,
    /// Of READDIRPLUS: what READDIR would list of the entries.
    directory_bytes_max: u32,
    /// Of the whole reply.
    bytes_max: u32,
}

impl<P: Ports> Door<'_, P> {
    pub(crate) async fn readdir(&self, args: ReaddirArgs) -> Answer<ReaddirOk, PostOpAttr> {
        let wanted = Wanted {
            dir: &args.dir,
            after: Cookie::new(args.cookie),
            verifier: args.cookieverf,
            directory_bytes_max: LISTING_BYTES_MAX,
            bytes_max: args.count.min(LISTING_BYTES_MAX),
        };
        self.list::<Plain>(wanted).await
    }

    pub(crate) async fn readdirplus(
        &self,
        args: ReaddirplusArgs,
    ) -> Answer<ReaddirplusOk, PostOpAttr> {
        let wanted = Wanted {
            dir: &args.dir,
            after: Cookie::new(args.cookie),
            verifier: args.cookieverf,
            directory_bytes_max: args.dircount,
            bytes_max: args.maxcount.min(LISTING_BYTES_MAX),
        };
        self.list::<Plus>(wanted).await
    }

    async fn list<K: Listed>(&self, wanted: Wanted<'_>) -> Answer<ListOk<K>, PostOpAttr> {
        let target = self.resolve(wanted.dir).await?;
        match self.page::<K>(&target, &wanted).await {
            Ok(page) => Ok(page),
            Err(Refused { refusal, attached }) => {
                let attributes = attached.dir.after.or(attached.object.after);
                Err(Stop::new(refusal, post_op(target.ask.volume, attributes.as_ref())))
            }
        }
    }

    async fn page<K: Listed>(
        &self,
        target: &Target,
        wanted: &Wanted<'_>,
    ) -> Result<ListOk<K>, Refused> {
        let volume = target.ask.volume;
        let verifier = Cookieverf3(cookie_verifier(target.object));
        if wanted.after != Cookie::START && wanted.verifier != verifier {
            return Err(self.refuse(target, Refusal::BadCookie).await);
        }
        let mut after = wanted.after;
        let mut listed = 0;
        let mut run = self.run::<K>(target, after, entries_fitting::<K>(wanted, listed, 0)).await?;
        let dir_attributes = post_op(volume, Some(&run.dir));
        let Some(limits) = K::limits(wanted, &dir_attributes) else {
            return Err(self.refuse(target, Refusal::TooSmall).await);
        };
        let mut scratch = BytesMut::with_capacity(FIRST_PAGE_BYTES.min(wanted.bytes_max as usize));
        let mut builder = ListingBuilder::<K>::new(limits, &mut scratch);
        let listing = loop {
            let pushed = run.entries.iter().take_while(|entry| {
                let handle = K::WITH_ATTRIBUTES.then(|| self.handle(&target.ask, entry.object));
                K::push(&mut builder, volume, entry, handle)
            });
            let pushed = pushed.count();
            listed += pushed;
            match run.entries.get(pushed) {
                Some(_) if listed == 0 => {
                    return Err(self.refuse(target, Refusal::TooSmall).await);
                }
                Some(_) => break builder.finish_with_more(),
                None if run.end => break builder.finish_at_end(),
                None => {}
            }
            // Neither an entry nor the end: a client would ask for ever.
            let last = run.entries.last().ok_or(Refusal::Fault)?;
            after = last.cookie;
            let fitting = entries_fitting::<K>(wanted, listed, builder.listing_bytes());
            run = self.run::<K>(target, after, fitting).await?;
        };
        Ok(ListOk { dir_attributes, cookieverf: verifier, listing })
    }

    async fn run<K: Listed>(
        &self,
        target: &Target,
        after: Cookie,
        entries_max: usize,
    ) -> Result<volume::Listing, Refused> {
        let page = Page { after, entries_max, with_attributes: K::WITH_ATTRIBUTES };
        self.ports().list(&target.ask, target.object, page).await
    }
}

/// What differs between the two procedures.
trait Listed: ListingKind + Send + Sized {
    const WITH_ATTRIBUTES: bool;
    /// An entry with a name of ordinary length.
    const ENTRY_BYTES_USUAL: usize;

    fn limits(wanted: &Wanted<'_>, dir_attributes: &PostOpAttr) -> Option<PageLimits>;

    /// Appends an entry; false if it does not fit any more.
    fn push(
        builder: &mut ListingBuilder<'_, Self>,
        volume: VolumeId,
        entry: &Entry,
        handle: Option<FileHandle>,
    ) -> bool;
}

impl Listed for Plain {
    const WITH_ATTRIBUTES: bool = false;
    const ENTRY_BYTES_USUAL: usize = DIRECTORY_ENTRY_BYTES_USUAL;

    fn limits(wanted: &Wanted<'_>, dir_attributes: &PostOpAttr) -> Option<PageLimits> {
        PageLimits::readdir(wanted.bytes_max, dir_attributes)
    }

    fn push(
        builder: &mut ListingBuilder<'_, Self>,
        _volume: VolumeId,
        entry: &Entry,
        _handle: Option<FileHandle>,
    ) -> bool {
        builder.push(&directory_entry(entry)).is_ok()
    }
}

impl Listed for Plus {
    const WITH_ATTRIBUTES: bool = true;
    const ENTRY_BYTES_USUAL: usize = DIRECTORY_ENTRY_BYTES_USUAL + 88 + 8 + volume::HANDLE_BYTES;

    fn limits(wanted: &Wanted<'_>, dir_attributes: &PostOpAttr) -> Option<PageLimits> {
        PageLimits::readdirplus(wanted.directory_bytes_max, wanted.bytes_max, dir_attributes)
    }

    fn push(
        builder: &mut ListingBuilder<'_, Self>,
        volume: VolumeId,
        entry: &Entry,
        handle: Option<FileHandle>,
    ) -> bool {
        let attributes = post_op(volume, entry.attributes.as_ref());
        builder.push(&DirEntryPlus { entry: directory_entry(entry), attributes, handle }).is_ok()
    }
}

fn directory_entry(entry: &Entry) -> DirEntry<'_> {
    DirEntry { fileid: entry.object.get(), name: &entry.name, cookie: entry.cookie.get() }
}

/// How many entries of usual size fit into what is left of a page; at least one, since only a
/// look at the next entry tells whether it fits and whether there is one.
fn entries_fitting<K: Listed>(wanted: &Wanted<'_>, listed: usize, listing_bytes: usize) -> usize {
    let bytes_left = (wanted.bytes_max as usize).saturating_sub(listing_bytes);
    let of_directory = wanted.directory_bytes_max as usize / DIRECTORY_ENTRY_BYTES_USUAL;
    let fitting = (bytes_left / K::ENTRY_BYTES_USUAL).min(of_directory.saturating_sub(listed));
    fitting.clamp(1, RUN_ENTRIES_MAX)
}

/// Mark, object, name of 12 to 16 bytes, cookie.
const DIRECTORY_ENTRY_BYTES_USUAL: usize = 40;

/// One run is at most this long, so that a large page does not hold all its entries twice.
const RUN_ENTRIES_MAX: usize = 1024;

/// What a page starts with; most directories are small.
const FIRST_PAGE_BYTES: usize = 8 << 10;

#[cfg(test)]
mod tests;
