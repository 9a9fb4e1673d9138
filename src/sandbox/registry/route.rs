//! The paths of the distribution API.

/// What a path below `/v2/` means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route<'a> {
    /// `/v2/`: does the registry speak this protocol, and to me?
    Base,
    /// A blob of a repository, by digest.
    Blob(&'a str, &'a str),
    /// Where uploads into a repository begin.
    Uploads(&'a str),
    /// An upload that goes on, by id.
    Upload(&'a str, &'a str),
    /// A manifest of a repository, by tag or digest.
    Manifest(&'a str, &'a str),
    /// The tags of a repository.
    Tags(&'a str),
}

/// Reads a path.
pub fn read(path: &str) -> Option<Route<'_>> {
    let rest = path.strip_prefix("/v2")?;
    if rest.is_empty() || rest == "/" {
        return Some(Route::Base);
    }
    let rest = rest.strip_prefix('/')?;
    if let Some(name) = rest.strip_suffix("/tags/list") {
        return named(name).then_some(Route::Tags(name));
    }
    if let Some(name) = rest
        .strip_suffix("/blobs/uploads/")
        .or(rest.strip_suffix("/blobs/uploads"))
    {
        return named(name).then_some(Route::Uploads(name));
    }
    let (front, last) = rest.rsplit_once('/')?;
    let route = if let Some(name) = front.strip_suffix("/blobs/uploads") {
        Route::Upload(name, last)
    } else if let Some(name) = front.strip_suffix("/blobs") {
        Route::Blob(name, last)
    } else {
        Route::Manifest(front.strip_suffix("/manifests")?, last)
    };
    let (Route::Upload(name, _) | Route::Blob(name, _) | Route::Manifest(name, _)) = route else {
        return None;
    };
    named(name).then_some(route)
}

/// Whether a text can be a repository's name: path components of lower-case letters, digits and separators.
fn named(name: &str) -> bool {
    name.len() <= 256
        && name.split('/').all(|part| {
            let edge = |byte: Option<&u8>| {
                byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
            };
            let bytes = part.as_bytes();
            edge(bytes.first())
                && edge(bytes.last())
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(b))
        })
}

/// A parameter of a query string, decoded.
pub fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    crate::sandbox::aws::protocol::form(query?)
        .into_iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read() {
        assert_eq!(read("/v2/"), Some(Route::Base));
        assert_eq!(
            read("/v2/a/b/manifests/latest"),
            Some(Route::Manifest("a/b", "latest"))
        );
        assert_eq!(read("/v2/a/blobs/uploads/"), Some(Route::Uploads("a")));
        assert_eq!(
            read("/v2/a/blobs/uploads/x-1"),
            Some(Route::Upload("a", "x-1"))
        );
        assert_eq!(
            read("/v2/a/blobs/sha256:00"),
            Some(Route::Blob("a", "sha256:00"))
        );
        assert_eq!(read("/v2/a/b/c/tags/list"), Some(Route::Tags("a/b/c")));
        for path in [
            "/v1/",
            "/v2/../blobs/x",
            "/v2/A/tags/list",
            "/v2//tags/list",
            "/v2/a",
            "/v2/_catalog",
        ] {
            assert_eq!(read(path), None, "{path}");
        }
    }
}
