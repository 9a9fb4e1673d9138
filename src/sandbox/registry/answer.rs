//! Answers of a registry: bodies, files in ranges, errors in the distribution specification's JSON.

use std::io::{self, SeekFrom};
use std::path::Path;

use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue,
};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

/// The body of an answer.
pub type Body = UnsyncBoxBody<Bytes, io::Error>;

const CHUNK: usize = 64 << 10;

/// A body of bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    with_status(status, full(Bytes::new()))
}

/// An answer with a body.
pub fn with_status(status: StatusCode, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    answer
}

/// Sets a header; a value that cannot be one is left out.
pub fn header(answer: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
}

/// A JSON answer.
pub fn json_answer(status: StatusCode, value: &Value) -> Response<Body> {
    let mut answer = with_status(status, full(value.to_string()));
    header(&mut answer, CONTENT_TYPE, "application/json");
    answer
}

/// An error of the distribution specification.
pub fn refuse(status: u16, code: &str, message: impl Into<String>) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message: String = message.into();
    json_answer(
        status,
        &json!({ "errors": [{ "code": code, "message": message }] }),
    )
}

/// A file, whole or the one range that is asked for; only its headers for a HEAD.
pub async fn file(path: &Path, range: Option<&str>, head: bool) -> io::Result<Response<Body>> {
    let mut file = tokio::fs::File::open(path).await?;
    let size = file.metadata().await?.len();
    let (status, first, length) = match range.and_then(|range| parse_range(range, size)) {
        None => (StatusCode::OK, 0, size),
        Some(Ok((first, last))) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Some(Err(())) => {
            let mut answer = refuse(416, "RANGE_INVALID", "the range is not satisfiable");
            header(&mut answer, CONTENT_RANGE, &format!("bytes */{size}"));
            return Ok(answer);
        }
    };
    let body = if head {
        full(Bytes::new())
    } else {
        file.seek(SeekFrom::Start(first)).await?;
        let chunks = stream::try_unfold((file, length), |(mut file, left)| async move {
            if left == 0 {
                return Ok::<_, io::Error>(None);
            }
            let mut buffer = vec![0; CHUNK.min(usize::try_from(left).unwrap_or(CHUNK))];
            let count = file.read(&mut buffer).await?;
            if count == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            buffer.truncate(count);
            let left = left - count as u64;
            Ok(Some((Frame::data(Bytes::from(buffer)), (file, left))))
        });
        StreamBody::new(chunks).boxed_unsync()
    };
    let mut answer = with_status(status, body);
    header(&mut answer, CONTENT_LENGTH, &length.to_string());
    header(&mut answer, ACCEPT_RANGES, "bytes");
    header(&mut answer, CONTENT_TYPE, "application/octet-stream");
    if status == StatusCode::PARTIAL_CONTENT {
        let last = first + length - 1;
        header(
            &mut answer,
            CONTENT_RANGE,
            &format!("bytes {first}-{last}/{size}"),
        );
    }
    Ok(answer)
}

/// The first and last byte of a range; `None` where the header is not understood, which means the whole.
fn parse_range(range: &str, size: u64) -> Option<Result<(u64, u64), ()>> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (first, last) = match (first, last) {
        ("", suffix) => {
            let suffix: u64 = suffix.parse().ok()?;
            (size.saturating_sub(suffix), size.saturating_sub(1))
        }
        (first, "") => (first.parse().ok()?, size.saturating_sub(1)),
        (first, last) => {
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first, last.min(size.saturating_sub(1)))
        }
    };
    Some(if first >= size || last < first {
        Err(())
    } else {
        Ok((first, last))
    })
}

#[cfg(test)]
mod tests {
    use super::parse_range;

    #[test]
    fn ranges_are_read() {
        assert_eq!(parse_range("bytes=0-3", 10), Some(Ok((0, 3))));
        assert_eq!(parse_range("bytes=5-", 10), Some(Ok((5, 9))));
        assert_eq!(parse_range("bytes=-4", 10), Some(Ok((6, 9))));
        assert_eq!(parse_range("bytes=0-99", 10), Some(Ok((0, 9))));
        assert_eq!(parse_range("bytes=10-", 10), Some(Err(())));
        assert_eq!(parse_range("bytes=5-4", 10), Some(Err(())));
        assert_eq!(parse_range("lines=1-2", 10), None);
        assert_eq!(parse_range("bytes=a-b", 10), None);
    }
}
