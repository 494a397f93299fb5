//! Secrets and certificates in files.
//!
//! Invariant: a secret that others may read is no secret and is refused; what is read is bounded.
//! Absent on purpose: watching; a file that changed is read at the next start.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The one line of a file that others can't read. The error says what to do.
pub(super) fn secret(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let (text, mode) = read(path, SECRET_BYTES_MAX)?;
    if mode & OTHERS != 0 {
        return Err(format!("others may use {shown}: chmod o= {shown}"));
    }
    let text = String::from_utf8(text).map_err(|_| format!("{shown} is not UTF-8 text"))?;
    let line = text.trim_end_matches(['\r', '\n']);
    if line.is_empty() || line.contains(char::is_control) {
        return Err(format!("{shown} must have one line, the secret"));
    }
    Ok(line.to_owned())
}

/// A file of certificates.
pub(super) fn certificates(path: &Path) -> Result<Vec<u8>, String> {
    read(path, CERTIFICATES_BYTES_MAX).map(|(bytes, _)| bytes)
}

/// The bytes and the mode of a regular file.
fn read(path: &Path, max: u64) -> Result<(Vec<u8>, u32), String> {
    let shown = path.display();
    let unreadable = |fault| format!("{shown}: {fault}");
    // A pipe would have us wait for who writes to it.
    if !path.metadata().map_err(unreadable)?.is_file() {
        return Err(format!("{shown} is no file"));
    }
    let file = File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(max + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > max {
        return Err(format!("{shown} has more than {max} bytes"));
    }
    Ok((bytes, mode))
}

/// Anything at all.
const OTHERS: u32 = 0o007;
/// Tokens of some services are signed and long.
const SECRET_BYTES_MAX: u64 = 8 << 10;
/// All that a system believes.
const CERTIFICATES_BYTES_MAX: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};

    use super::*;

    fn file(bytes: &[u8], mode: u32) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        write(&path, bytes).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (dir, path)
    }

    #[test]
    fn a_secret_is_the_line_of_its_file() {
        for (bytes, mode) in [("s3cret", 0o600), ("s3cret\n", 0o400), ("s3cret\r\n", 0o640)] {
            let (_dir, path) = file(bytes.as_bytes(), mode);
            assert_eq!(secret(&path).as_deref(), Ok("s3cret"));
        }
    }

    #[test]
    fn a_secret_that_others_may_read_is_refused_with_what_to_do() {
        for mode in [0o604, 0o644, 0o602, 0o666] {
            let (_dir, path) = file(b"s3cret", mode);
            let refused = secret(&path).unwrap_err();
            assert!(refused.contains("chmod o= /"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let long = vec![b'x'; SECRET_BYTES_MAX as usize + 1];
        for bytes in [&b""[..], b"\n", b"two\nlines", b"\xff\xfe", b"nul\0", &long] {
            let (_dir, path) = file(bytes, 0o600);
            assert!(secret(&path).is_err(), "{:?}", &bytes[..bytes.len().min(9)]);
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(secret(dir.path()).unwrap_err().contains("is no file"));
        let missing = secret(&dir.path().join("missing")).unwrap_err();
        assert!(missing.contains("missing: No such file"), "{missing}");
    }
}
