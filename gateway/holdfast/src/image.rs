//! The boot files of an appliance that runs from an image: a new one is taken here, and the one
//! before is made the next.
//!
//! Invariant: nothing is called a boot file before all of it is on the disk and its signature was
//! found good; what runs is never removed. Absent on purpose: the restart, and whether the new one
//! is kept (the image's init decides that).

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use admin::{ImageView, SlotView, Upload};
use http_body_util::BodyExt;
use init::slots::{self, FOLDER, Slot};
use minisign_verify::{PublicKey, Signature};
use rustix::fs::StatVfsMountFlags;
use rustix::mount::{MountFlags, mount_remount};
use thiserror::Error;

use crate::config;

/// What this appliance boots from.
pub struct Image {
    /// Where the EFI partition is; none if it runs from no image.
    esp: Option<PathBuf>,
    /// What the boot loader booted.
    entry: String,
    /// Whose images are taken.
    key: Option<PublicKey>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

/// Why the boot files stay as they are.
#[derive(Debug, Error)]
pub enum ImageRefusal {
    /// There are none.
    #[error(
        "this appliance does not run from an image on an EFI partition: update it as it was \
        installed"
    )]
    NoImage,
    /// Nobody's images are taken.
    #[error(
        "this appliance takes nobody's images: set `public_key` in `[image]` of its \
        configuration"
    )]
    NoKey,
    /// It can't be known which one runs.
    #[error(
        "it can't be told which of the boot files runs, so none is replaced; was it booted \
        from {0:?}?"
    )]
    UnknownSlot(String),
    /// The signature is not of this key, or not of these bytes.
    #[error("the signature is not good: {0}. What is booted next stays what it was")]
    BadSignature(minisign_verify::Error),
    /// A signed file that no firmware would start.
    #[error(
        "this is no boot file: it does not begin as one. What is booted next stays what it was"
    )]
    NoBootFile,
    /// It is too long.
    #[error("an image has at most {} MiB. What is booted next stays what it was", IMAGE_BYTES_MAX >> 20)]
    TooLong,
    /// It did not come to its end.
    #[error("the image did not come to its end: {0}. What is booted next stays what it was")]
    Broken(String),
    /// There is none to go back to.
    #[error("there is no other boot file that has proved itself")]
    NoPrevious,
    /// No number is left.
    #[error("the boot files have used up their numbers: write the disk anew")]
    NoNumber,
    /// The partition does not let us.
    #[error("the EFI partition: {0}")]
    Io(#[from] io::Error),
}

impl Image {
    /// As the configuration says.
    ///
    /// # Errors
    /// The key is none.
    pub fn new(config: &config::Image) -> Result<Self, String> {
        let esp = (!config.esp.as_os_str().is_empty()).then(|| config.esp.clone());
        let key = match config.public_key.as_str() {
            "" => None,
            text => Some(PublicKey::from_base64(text).map_err(|bad| {
                format!("{text:?} is no minisign public key, the second line of its file: {bad}")
            })?),
        };
        Ok(Self { esp, entry: config.booted.clone(), key, changing: tokio::sync::Mutex::default() })
    }

    /// The boot files.
    ///
    /// # Errors
    /// There are none, or they can't be read.
    pub fn view(&self) -> Result<ImageView, ImageRefusal> {
        let folder = self.folder()?;
        let mut all = slots_in(&folder)?;
        all.sort_unstable_by(|a, b| b.cmp(a));
        let booted = slots::booted(&all, &self.entry);
        let view = |slot: &Slot| {
            let file = slot.file_name();
            let bytes = fs::metadata(folder.join(&file)).map_or(0, |meta| meta.len());
            let running = Some(*slot) == booted;
            let state = match slot.tries {
                None => "kept",
                Some(_) if running || !slot.is_used_up() => "on trial",
                Some(_) => "failed",
            };
            SlotView { file, bytes, state: state.to_owned(), running }
        };
        Ok(ImageView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            booted: booted.map(Slot::file_name),
            slots: all.iter().map(view).collect(),
            refuses: self.key.is_none().then(|| ImageRefusal::NoKey.to_string()),
        })
    }

    /// Takes an image with its minisign signature as what is booted next; gives its name.
    ///
    /// # Errors
    /// [`ImageRefusal`]; then what is booted next is what it was.
    pub async fn take(&self, signature: &str, upload: Upload) -> Result<String, ImageRefusal> {
        let folder = self.folder()?;
        let key = self.key.as_ref().ok_or(ImageRefusal::NoKey)?;
        let signature = Signature::decode(signature).map_err(ImageRefusal::BadSignature)?;
        let _one = self.changing.lock().await;
        let (all, booted) = self.slots(&folder)?;
        let slot = Slot::untried(slots::next_number(&all).ok_or(ImageRefusal::NoNumber)?);
        let writable = Writable::new(&folder)?;
        for old in slots::to_remove(&all, Some(booted)) {
            fs::remove_file(folder.join(old.file_name()))?;
        }
        let coming = folder.join(COMING);
        if let Err(refusal) = receive(&coming, key, &signature, upload).await {
            match fs::remove_file(&coming) {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault.into()),
                _ => return Err(refusal),
            }
        }
        fs::rename(&coming, folder.join(slot.file_name()))?;
        writable.sync()?;
        Ok(slot.file_name())
    }

    /// Makes the newest other one that has proved itself what is booted next; gives its new name.
    ///
    /// # Errors
    /// [`ImageRefusal`]; then what is booted next is what it was.
    pub async fn roll_back(&self) -> Result<String, ImageRefusal> {
        let folder = self.folder()?;
        let _one = self.changing.lock().await;
        let (all, booted) = self.slots(&folder)?;
        let previous = slots::previous(&all, Some(booted)).ok_or(ImageRefusal::NoPrevious)?;
        let slot = Slot::untried(slots::next_number(&all).ok_or(ImageRefusal::NoNumber)?);
        let writable = Writable::new(&folder)?;
        fs::rename(folder.join(previous.file_name()), folder.join(slot.file_name()))?;
        writable.sync()?;
        Ok(slot.file_name())
    }

    fn folder(&self) -> Result<PathBuf, ImageRefusal> {
        Ok(self.esp.as_ref().ok_or(ImageRefusal::NoImage)?.join(FOLDER))
    }

    fn slots(&self, folder: &Path) -> Result<(Vec<Slot>, Slot), ImageRefusal> {
        let all = slots_in(folder)?;
        let booted = slots::booted(&all, &self.entry);
        let booted = booted.ok_or_else(|| ImageRefusal::UnknownSlot(self.entry.clone()))?;
        Ok((all, booted))
    }
}

fn slots_in(folder: &Path) -> io::Result<Vec<Slot>> {
    let mut slots = Vec::new();
    for entry in fs::read_dir(folder)? {
        slots.extend(entry?.file_name().to_str().and_then(Slot::parse));
    }
    Ok(slots)
}

/// Writes what comes and checks it on the way; all of it is durable, and signed, if this is `Ok`.
async fn receive(
    path: &Path,
    key: &PublicKey,
    signature: &Signature,
    mut upload: Upload,
) -> Result<(), ImageRefusal> {
    let mut verifier = key.verify_stream(signature).map_err(ImageRefusal::BadSignature)?;
    let mut file = File::create(path)?;
    let (mut bytes, mut head) = (0, Vec::<u8>::new());
    loop {
        let frame = tokio::time::timeout(FRAME_WAIT, upload.frame()).await;
        let frame = frame.map_err(|_| ImageRefusal::Broken("nothing came for a while".into()))?;
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|fault| ImageRefusal::Broken(fault.to_string()))?;
        let Ok(data) = frame.into_data() else { continue };
        bytes += data.len() as u64;
        if bytes > IMAGE_BYTES_MAX {
            return Err(ImageRefusal::TooLong);
        }
        let wanting = BOOT_FILE_HEAD.len().saturating_sub(head.len());
        head.extend_from_slice(&data[..wanting.min(data.len())]);
        verifier.update(&data);
        // Straight to the partition: nobody waits for this thread but the operator.
        tokio::task::block_in_place(|| file.write_all(&data))?;
    }
    verifier.finalize().map_err(ImageRefusal::BadSignature)?;
    if head != BOOT_FILE_HEAD {
        return Err(ImageRefusal::NoBootFile);
    }
    Ok(tokio::task::block_in_place(|| file.sync_all())?)
}

/// The partition, writable until this is dropped.
struct Writable {
    folder: File,
    /// Where it is mounted, if it was read-only.
    again: Option<PathBuf>,
}

impl Writable {
    fn new(folder: &Path) -> io::Result<Self> {
        let opened = File::open(folder)?;
        let flags = rustix::fs::fstatvfs(&opened)?.f_flag;
        let again = match flags.contains(StatVfsMountFlags::RDONLY) {
            true => folder.ancestors().nth(FOLDER.split('/').count()).map(Path::to_owned),
            false => None,
        };
        if let Some(esp) = &again {
            mount_remount(esp, MOUNT_FLAGS, "")?;
        }
        Ok(Self { folder: opened, again })
    }

    /// Makes all of it durable: what FAT says of folders is not worth relying on.
    fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.folder)?)
    }
}

impl Drop for Writable {
    fn drop(&mut self) {
        if let Some(esp) = &self.again
            && let Err(fault) = mount_remount(esp, MOUNT_FLAGS | MountFlags::RDONLY, "")
        {
            tracing::warn!(%fault, "the EFI partition stays writable");
        }
    }
}

/// Restarts the machine, if what started this process offers that.
pub fn restart_machine() -> bool {
    let offered = std::env::var_os(INIT).is_some();
    if offered {
        tokio::spawn(async {
            // The answer goes out first.
            tokio::time::sleep(ANSWER_WAIT).await;
            let told = rustix::process::kill_process(
                rustix::process::Pid::INIT,
                rustix::process::Signal::TERM,
            );
            if let Err(fault) = told {
                tracing::error!(%fault, "the machine can't be restarted: do it by hand");
            }
        });
    }
    offered
}

/// As the image's init mounts it: data, and nothing that could be run.
const MOUNT_FLAGS: MountFlags =
    MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);
/// In the environment of whoever the image's init has started: SIGTERM restarts the machine.
const INIT: &str = "HOLDFAST_INIT";
/// While it comes: no boot loader takes it for a boot file.
const COMING: &str = "holdfast.coming";
/// Far more than an image has.
const IMAGE_BYTES_MAX: u64 = 128 << 20;
/// Of every program that firmware starts (PE/COFF).
const BOOT_FILE_HEAD: &[u8] = b"MZ";
const FRAME_WAIT: Duration = Duration::from_secs(30);
const ANSWER_WAIT: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
