//! The files of a service: one of the demo's, or a folder's.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Source;
use crate::engine::{Failure, FailureKind, Result};

/// What a service may bring along: enough for programs, too little for a mistaken folder.
const GREATEST_SIZE: usize = 64 << 20;
/// What ustar can name.
const LONGEST_PATH: usize = 200;
/// What is started.
const MAIN: &str = "main.py";

macro_rules! template {
    ($path:literal) => {
        include_bytes!(concat!("../../templates/services/", $path)).as_slice()
    };
}

/// Files by path, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    /// The files of a service's source; none for a ready image.
    ///
    /// # Errors
    /// An unknown demo service; a folder that cannot be read, lacks `main.py` or is too large.
    pub fn of(source: &Source) -> Result<Option<Self>> {
        match source {
            Source::Demo(name) => Self::demo(name).map(Some),
            Source::Folder(folder) => Self::folder(folder).map(Some),
            Source::Image(_) => Ok(None),
        }
    }

    fn demo(name: &str) -> Result<Self> {
        let main = match name {
            "frontend" => template!("frontend/main.py"),
            "backend" => template!("backend/main.py"),
            "database" => template!("database/main.py"),
            _ => {
                let failure = Failure::of(
                    FailureKind::Input,
                    format!("demo service {name}"),
                    "there is no such demo service",
                );
                return Err(failure.hint("the demo services are frontend, backend and database"));
            }
        };
        let mut files = Files::default();
        files.add(MAIN, main.to_vec())?;
        files.add("runtime.py", template!("runtime.py").to_vec())?;
        Ok(files)
    }

    fn folder(folder: &Path) -> Result<Self> {
        let mut files = Files::default();
        let mut size = 0;
        files.walk(folder, "", &mut size)?;
        if files.0.contains_key(MAIN) {
            Ok(files)
        } else {
            Err(unusable(folder, "it has no main.py"))
        }
    }

    fn walk(&mut self, folder: &Path, prefix: &str, size: &mut usize) -> Result<()> {
        let entries = std::fs::read_dir(folder).map_err(|error| unusable(folder, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| unusable(folder, error))?;
            let path = entry.path();
            let name = entry
                .file_name()
                .into_string()
                .map_err(|_| unusable(&path, "its name is not UTF-8"))?;
            // Caches and version control are not the program.
            if name.starts_with('.') || name == "__pycache__" || name.ends_with(".pyc") {
                continue;
            }
            let inside = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(|error| unusable(&path, error))?;
            if kind.is_dir() {
                self.walk(&path, &format!("{inside}/"), size)?;
            } else if kind.is_file() {
                let content = std::fs::read(&path).map_err(|error| unusable(&path, error))?;
                *size += content.len();
                if *size > GREATEST_SIZE {
                    let limit = format!("its files exceed {} MiB", GREATEST_SIZE >> 20);
                    return Err(unusable(folder, limit));
                }
                self.add(&inside, content)?;
            } else {
                return Err(unusable(&path, "it is neither a file nor a folder"));
            }
        }
        Ok(())
    }

    /// Adds a file.
    ///
    /// # Errors
    /// A path that is too long for a layer.
    pub fn add(&mut self, path: &str, content: Vec<u8>) -> Result<()> {
        let name = path.rsplit('/').next().unwrap_or(path);
        if path.len() > LONGEST_PATH || name.len() > 100 {
            return Err(unusable(
                Path::new(path),
                "its path is too long for an image layer",
            ));
        }
        self.0.insert(path.to_owned(), content);
        Ok(())
    }

    /// The paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Paths and contents, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .map(|(path, content)| (path.as_str(), content.as_slice()))
    }
}

fn unusable(path: &Path, why: impl ToString) -> Failure {
    Failure::of(FailureKind::Input, path.display().to_string(), why)
        .hint("a service's folder holds main.py and what it imports; see meshctl.yaml")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Layer;

    #[test]
    fn a_demo_service_has_its_program_and_the_runtime() {
        let files = Files::of(&Source::Demo("backend".into())).unwrap().unwrap();
        assert_eq!(files.paths().collect::<Vec<_>>(), ["main.py", "runtime.py"]);
        assert!(Files::of(&Source::Demo("other".into())).is_err());
    }

    #[test]
    fn a_folders_times_do_not_matter_and_its_caches_stay_out() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().to_owned();
        std::fs::create_dir_all(folder.join("__pycache__")).unwrap();
        std::fs::create_dir_all(folder.join("lib")).unwrap();
        std::fs::write(folder.join("main.py"), "print(1)").unwrap();
        std::fs::write(folder.join("lib/x.py"), "").unwrap();
        std::fs::write(folder.join("__pycache__/main.pyc"), "junk").unwrap();
        let source = Source::Folder(folder.clone());
        let before = Files::of(&source).unwrap().unwrap();
        let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        std::fs::File::options()
            .write(true)
            .open(folder.join("main.py"))
            .and_then(|file| file.set_modified(old))
            .unwrap();
        let after = Files::of(&source).unwrap().unwrap();
        assert_eq!(before.paths().collect::<Vec<_>>(), ["lib/x.py", "main.py"]);
        assert_eq!(
            Layer::new("app", &before).digest,
            Layer::new("app", &after).digest
        );
        std::fs::remove_file(folder.join("main.py")).unwrap();
        let failure = Files::of(&source).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Input);
    }
}
