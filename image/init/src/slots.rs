//! The boot files on the EFI partition: their names, which of them booted, which of them stay.
//!
//! An image is one file in [`FOLDER`], `holdfast-NNNNNNNN.efi`: the higher its number, the newer it
//! is. One that has not proved itself carries a counter as systemd-boot reads it (Automatic Boot
//! Assessment): `+LEFT`, or `+LEFT-DONE` once it was tried. systemd-boot counts at each boot, and
//! takes a file whose counter is used up only if there is no other. Who boots and is well drops the
//! counter.
//!
//! Invariant: a name that [`Slot::parse`] takes is exactly what [`Slot::file_name`] gives back, so
//! a slot always names a file. What is running is never among what to remove.
//!
//! Absent on purpose: IO; what is in the files; any other crate.

/// Where the boot files are, below the root of the EFI partition.
pub const FOLDER: &str = "EFI/Linux";

/// Below `/sys/firmware/efi/efivars`: the entry that systemd-boot has booted, for [`entry`].
pub const ENTRY_SELECTED: &str = "LoaderEntrySelected-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

/// The highest number there can be: eight digits.
pub const NUMBER_MAX: u32 = 99_999_999;

/// A boot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The higher, the newer; at most [`NUMBER_MAX`].
    pub number: u32,
    /// The counter of one that has not proved itself.
    pub tries: Option<Tries>,
}

/// The counter of a boot file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tries {
    /// How often it may still be booted.
    pub left: u32,
    /// How often it was booted; none if nothing was counted yet.
    pub done: Option<u32>,
}

impl Slot {
    /// A boot file that is tried once, as an update writes it.
    pub fn untried(number: u32) -> Self {
        Self { number, tries: Some(Tries { left: 1, done: None }) }
    }

    /// The same boot file once it has proved itself: without a counter.
    pub fn kept(self) -> Self {
        Self { tries: None, ..self }
    }

    /// The slot of a file of this name; none if it is no boot file of ours.
    pub fn parse(file_name: &str) -> Option<Self> {
        let middle = file_name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (number, counter) = match middle.split_once('+') {
            Some((number, counter)) => (number, Some(counter)),
            None => (middle, None),
        };
        let tries = match counter.map(|counter| counter.split_once('-').ok_or(counter)) {
            None => None,
            Some(Err(left)) => Some(Tries { left: decimal(left)?, done: None }),
            Some(Ok((left, done))) => {
                Some(Tries { left: decimal(left)?, done: Some(decimal(done)?) })
            }
        };
        let slot = Self { number: decimal(number)?, tries };
        // Other spellings of the same number would name other files.
        (slot.number <= NUMBER_MAX && slot.file_name() == file_name).then_some(slot)
    }

    /// The name of its file.
    pub fn file_name(self) -> String {
        let number = self.number;
        match self.tries {
            None => format!("{PREFIX}{number:0DIGITS$}{SUFFIX}"),
            Some(Tries { left, done: None }) => {
                format!("{PREFIX}{number:0DIGITS$}+{left}{SUFFIX}")
            }
            Some(Tries { left, done: Some(done) }) => {
                format!("{PREFIX}{number:0DIGITS$}+{left}-{done}{SUFFIX}")
            }
        }
    }

    /// Whether it may not be booted any more. That of the running one is used up, too, until it
    /// has proved itself.
    pub fn is_used_up(self) -> bool {
        self.tries.is_some_and(|tries| tries.left == 0)
    }
}

/// The number of the next boot file to be written; none if there is none left.
pub fn next_number(slots: &[Slot]) -> Option<u32> {
    let newest = slots.iter().map(|slot| slot.number).max().unwrap_or(0);
    newest.checked_add(1).filter(|next| *next <= NUMBER_MAX)
}

/// Which of `slots` the boot loader's `entry` names. The file may have got another counter since.
pub fn booted(slots: &[Slot], entry: &str) -> Option<Slot> {
    let entry = entry.to_ascii_lowercase();
    let after = entry.strip_prefix(PREFIX)?;
    let (digits, rest) = after.split_at_checked(DIGITS)?;
    let number = decimal(digits)?;
    // systemd-boot names it by its file, with or without counter and ending, and by its profile.
    if !(rest.is_empty() || rest.starts_with(['+', '.', '@'])) {
        return None;
    }
    let named: Vec<Slot> = slots.iter().copied().filter(|slot| slot.number == number).collect();
    let counted = rest.starts_with('+');
    let same = named.iter().find(|slot| slot.tries.is_some() == counted);
    same.or(named.first()).copied()
}

/// What can go before another boot file is written: everything but the running one and the newest
/// other that can still be booted.
pub fn to_remove(slots: &[Slot], booted: Option<Slot>) -> Vec<Slot> {
    let other = others(slots, booted).filter(|slot| !slot.is_used_up()).max();
    let goes = |slot: &Slot| Some(*slot) != booted && Some(*slot) != other;
    slots.iter().copied().filter(goes).collect()
}

/// What a rollback goes to: the newest other that has proved itself.
pub fn previous(slots: &[Slot], booted: Option<Slot>) -> Option<Slot> {
    others(slots, booted).filter(|slot| slot.tries.is_none()).max()
}

/// What a failed boot falls back to: the newest other that can still be booted.
pub fn fallback(slots: &[Slot], booted: Slot) -> Option<Slot> {
    others(slots, Some(booted)).filter(|slot| !slot.is_used_up()).max()
}

/// The entry that an EFI variable's file holds: four bytes of attributes, then UTF-16.
pub fn entry(variable: &[u8]) -> Option<String> {
    let (units, odd) = variable.get(ATTRIBUTES_BYTES..)?.as_chunks::<2>();
    let units = units.iter().map(|unit| u16::from_le_bytes(*unit)).take_while(|unit| *unit != 0);
    let text = char::decode_utf16(units).collect::<Result<String, _>>().ok()?;
    (odd.is_empty() && !text.is_empty()).then_some(text)
}

fn others(slots: &[Slot], booted: Option<Slot>) -> impl Iterator<Item = Slot> + '_ {
    slots.iter().copied().filter(move |slot| Some(*slot) != booted)
}

/// A number of digits alone; `parse` would take a sign.
fn decimal(text: &str) -> Option<u32> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

const PREFIX: &str = "holdfast-";
const SUFFIX: &str = ".efi";
const DIGITS: usize = 8;
/// Of a variable, in efivarfs (Linux, Documentation/filesystems/efivarfs.rst).
const ATTRIBUTES_BYTES: usize = 4;

#[cfg(test)]
mod tests;
