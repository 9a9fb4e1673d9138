//! One image layer, the same bytes for the same files.

use std::io::Write;

use flate2::{Compression, GzBuilder};
use tar::{EntryType, Header};

use super::{Files, digest};

/// A gzipped tar layer.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The digest of the compressed bytes, by which registries know it.
    pub digest: String,
    /// The digest of the tar itself, by which the image's configuration knows it.
    pub diff_id: String,
    /// The compressed bytes.
    pub data: Vec<u8>,
}

impl Layer {
    /// A layer with the files under `directory` (`app`), sorted; times, owners and modes are fixed.
    pub fn new(directory: &str, files: &Files) -> Self {
        let mut tar = Vec::new();
        let mut folders = vec![directory.to_owned()];
        for path in files.paths() {
            // Each folder once, before what is in it: `a/b/c` brings `a` and `a/b`.
            for (end, _) in path.match_indices('/') {
                let folder = format!("{directory}/{}", &path[..end]);
                if !folders.contains(&folder) {
                    folders.push(folder);
                }
            }
        }
        folders.sort();
        for folder in &folders {
            append(
                &mut tar,
                &format!("{folder}/"),
                EntryType::Directory,
                0o755,
                &[],
            );
        }
        for (path, content) in files.iter() {
            let path = format!("{directory}/{path}");
            append(&mut tar, &path, EntryType::Regular, 0o644, content);
        }
        // Two empty blocks end an archive.
        tar.extend_from_slice(&[0; 1024]);
        let diff_id = digest(&tar);
        let mut gzip = GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::best());
        // Writing to memory cannot fail.
        let data = gzip
            .write_all(&tar)
            .and_then(|()| gzip.finish())
            .unwrap_or_default();
        Layer {
            digest: digest(&data),
            diff_id,
            data,
        }
    }
}

fn append(tar: &mut Vec<u8>, path: &str, kind: EntryType, mode: u32, content: &[u8]) {
    let mut header = Header::new_ustar();
    // Files::add refuses what does not fit.
    let _ = header.set_path(path);
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    tar.extend_from_slice(header.as_bytes());
    tar.extend_from_slice(content);
    let padding = content.len().next_multiple_of(512) - content.len();
    tar.resize(tar.len() + padding, 0);
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn files(pairs: &[(&str, &str)]) -> Files {
        let mut files = Files::default();
        for (path, content) in pairs {
            files.add(path, content.as_bytes().to_vec()).unwrap();
        }
        files
    }

    #[test]
    fn the_order_of_files_does_not_matter() {
        let one = Layer::new("app", &files(&[("main.py", "a"), ("lib/x.py", "b")]));
        let other = Layer::new("app", &files(&[("lib/x.py", "b"), ("main.py", "a")]));
        assert_eq!(one.digest, other.digest);
        let changed = Layer::new("app", &files(&[("main.py", "a"), ("lib/x.py", "c")]));
        assert_ne!(one.digest, changed.digest);
    }

    #[test]
    fn it_is_a_tar_that_others_can_read() {
        let layer = Layer::new("app", &files(&[("main.py", "print(1)"), ("lib/x.py", "")]));
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(layer.data.as_slice())
            .read_to_end(&mut tar)
            .unwrap();
        assert_eq!(digest(&tar), layer.diff_id);
        let mut archive = tar::Archive::new(tar.as_slice());
        let entries: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = String::new();
                entry.read_to_string(&mut content).unwrap();
                let header = entry.header();
                assert_eq!((header.uid().unwrap(), header.mtime().unwrap()), (0, 0));
                (entry.path().unwrap().display().to_string(), content)
            })
            .collect();
        let expected = [
            ("app/", ""),
            ("app/lib/", ""),
            ("app/lib/x.py", ""),
            ("app/main.py", "print(1)"),
        ];
        let expected = expected.map(|(path, content)| (path.to_owned(), content.to_owned()));
        assert_eq!(entries, expected);
    }
}
