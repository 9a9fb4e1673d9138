//! Blobs on disk: each is a file named by its digest, written under another name and then renamed, so that what has the
//! name is whole.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::sandbox::aws::{iam, signature};
use crate::sandbox::clock::Millis;
use crate::sandbox::state::World;

/// The digest of bytes: `sha256:…`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", signature::hex(&Sha256::digest(bytes)))
}

/// Whether a text is a digest of the one algorithm that is served.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    })
}

/// Why an upload does not become a blob.
#[derive(Debug)]
pub enum CommitError {
    /// Its content has another digest.
    Digest,
    /// A file cannot be written or read.
    File(io::Error),
}

/// The blobs of a sandbox.
#[derive(Clone, Debug)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// The blobs of a world, below its directory.
    pub fn of(world: &World) -> Self {
        Blobs {
            root: world.directory.join("registry"),
        }
    }

    /// Where a blob is, if it is there. A digest that is none has no place.
    pub fn path(&self, digest: &str) -> Option<PathBuf> {
        let hex = is_digest(digest).then(|| digest.strip_prefix("sha256:"))??;
        Some(self.root.join("blobs").join(hex))
    }

    fn place(&self, digest: &str) -> io::Result<PathBuf> {
        let path = self
            .path(digest)
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
        Ok(path)
    }

    /// The content of a blob.
    pub fn read(&self, digest: &str) -> io::Result<Vec<u8>> {
        let path = self
            .path(digest)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        std::fs::read(path)
    }

    /// Keeps bytes under their digest.
    pub fn put(&self, bytes: &[u8]) -> io::Result<String> {
        let digest = digest(bytes);
        let path = self.place(&digest)?;
        if !path.exists() {
            let partial = path.with_extension(format!("{:016x}", fastrand::u64(..)));
            let mut file = std::fs::File::create(&partial)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            std::fs::rename(partial, path)?;
        }
        Ok(digest)
    }

    /// Removes a blob; one that is not there is fine.
    pub fn remove(&self, digest: &str) {
        if let Some(path) = self.path(digest) {
            let _ = std::fs::remove_file(path);
        }
    }

    /// The file that an upload is written to.
    pub fn upload(&self, id: &str) -> io::Result<PathBuf> {
        let folder = self.root.join("uploads");
        std::fs::create_dir_all(&folder)?;
        Ok(folder.join(id))
    }

    /// Makes an upload a blob, if its content has that digest.
    pub fn commit(&self, id: &str, digest: &str) -> Result<(), CommitError> {
        let upload = self.upload(id).map_err(CommitError::File)?;
        let mut hash = Sha256::new();
        let mut file = std::fs::File::open(&upload).map_err(CommitError::File)?;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = file.read(&mut buffer).map_err(CommitError::File)?;
            if count == 0 {
                break;
            }
            hash.update(&buffer[..count]);
        }
        if format!("sha256:{}", signature::hex(&hash.finalize())) != digest {
            return Err(CommitError::Digest);
        }
        file.sync_all().map_err(CommitError::File)?;
        let place = self.place(digest).map_err(CommitError::File)?;
        std::fs::rename(upload, place).map_err(CommitError::File)
    }

    /// Forgets an upload.
    pub fn abandon(&self, id: &str) {
        if let Ok(path) = self.upload(id) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn secret(&self) -> io::Result<Vec<u8>> {
        let path = self.root.join("secret");
        if let Ok(known) = std::fs::read(&path)
            && known.len() == 40
        {
            return Ok(known);
        }
        std::fs::create_dir_all(&self.root)?;
        let secret = iam::secret(40).into_bytes();
        std::fs::write(path, &secret)?;
        Ok(secret)
    }

    fn sign(&self, text: &str) -> io::Result<String> {
        let secret = self.secret()?;
        let mut mac = <Hmac<Sha256>>::new_from_slice(&secret).map_err(io::Error::other)?;
        mac.update(text.as_bytes());
        Ok(signature::hex(&mac.finalize().into_bytes()))
    }

    /// A path and query with which anybody may have a blob until then.
    pub fn share(&self, digest: &str, until: Millis) -> io::Result<String> {
        let signature = self.sign(&format!("{digest} {until}"))?;
        Ok(format!(
            "/_download/{digest}?until={until}&signature={signature}"
        ))
    }

    /// Whether such a path and query is right and still valid.
    pub fn is_shared(&self, digest: &str, query: &str, now: Millis) -> bool {
        let value = |name: &str| {
            query
                .split('&')
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
        };
        let until = value("until").and_then(|text| text.parse::<Millis>().ok());
        let (Some(until), Some(signature)) = (until, value("signature")) else {
            return false;
        };
        now < until
            && self
                .sign(&format!("{digest} {until}"))
                .is_ok_and(|right| right == signature)
    }
}
