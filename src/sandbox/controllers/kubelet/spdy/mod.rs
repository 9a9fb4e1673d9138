//! SPDY/3.1 as far as port-forwarding speaks it: streams that a client opens with headers, bytes both ways, pings.
//!
//! Headers are compressed, all of one direction in one stream, so that none may be left out. Windows are not kept: neither
//! does the library that Kubernetes uses.

mod dictionary;
mod forward;

use std::io::{Error, ErrorKind, Result};

use futures::FutureExt as _;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};
use tokio::io::{AsyncRead, AsyncReadExt};

pub use forward::forward;

/// Bytes of a stream's headers at most.
const HEADERS: usize = 64 << 10;
/// How far back compressed headers may refer, and more.
const WINDOW: usize = 64 << 10;
/// How a compressed stream begins that has the dictionary, which is called by its Adler-32.
const BEGIN: [u8; 6] = [0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2];

/// What a client sends.
#[derive(Debug, PartialEq)]
enum Frame {
    /// A new stream.
    Open {
        stream: u32,
        headers: Vec<(String, String)>,
    },
    /// Bytes of a stream, and whether they are the last ones.
    Data {
        stream: u32,
        bytes: Vec<u8>,
        last: bool,
    },
    /// A stream is given up.
    Reset { stream: u32 },
    /// It wants the same number back.
    Ping(u32),
    /// There will be no more streams.
    Away,
    /// Nothing that matters here.
    Other,
}

/// Reads frames.
struct Reader<R> {
    io: R,
    inflate: Inflate,
}

/// Reads frames up to the first one that is none.
pub fn read(bytes: &[u8]) {
    let mut reader = Reader::new(bytes);
    while let Some(Ok(_)) = reader.next().now_or_never() {}
}

fn wrong(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::InvalidData, why)
}

fn number(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

impl<R: AsyncRead + Unpin> Reader<R> {
    fn new(io: R) -> Reader<R> {
        Reader {
            io,
            inflate: Inflate::new(),
        }
    }

    /// The next frame; fails at the end of the connection.
    async fn next(&mut self) -> Result<Frame> {
        let mut head = [0; 8];
        self.io.read_exact(&mut head).await?;
        let [a, b, c, d, flags, length @ ..] = head;
        let (kind, length) = (
            u32::from_be_bytes([a, b, c, d]),
            u32::from_be_bytes([0, length[0], length[1], length[2]]),
        );
        let mut bytes = vec![0; length as usize];
        self.io.read_exact(&mut bytes).await?;
        if kind >> 31 == 0 {
            return Ok(Frame::Data {
                stream: kind,
                bytes,
                last: flags & 1 == 1,
            });
        }
        if kind >> 16 != 0x8003 {
            return Err(wrong("not SPDY/3"));
        }
        let stream = || number(&bytes).ok_or_else(|| wrong("a frame without a stream"));
        Ok(match kind & 0xffff {
            1 => {
                let stream = stream()?;
                let headers = self.headers(bytes.get(10..).unwrap_or_default())?;
                Frame::Open { stream, headers }
            }
            // Read for the sake of the next ones.
            2 | 8 => {
                self.headers(bytes.get(4..).unwrap_or_default())?;
                Frame::Other
            }
            3 => Frame::Reset { stream: stream()? },
            6 => Frame::Ping(stream()?),
            7 => Frame::Away,
            _ => Frame::Other,
        })
    }

    fn headers(&mut self, bytes: &[u8]) -> Result<Vec<(String, String)>> {
        let plain = self.inflate.next(bytes)?;
        read_headers(&plain).ok_or_else(|| wrong("headers that are none"))
    }
}

/// Decompresses headers.
struct Inflate {
    state: Box<DecompressorOxide>,
    /// What was read last, the dictionary before all.
    window: Vec<u8>,
    at: usize,
    begun: bool,
}

impl Inflate {
    fn new() -> Inflate {
        let mut window = dictionary::dictionary();
        let at = window.len();
        window.resize(WINDOW, 0);
        Inflate {
            state: Box::default(),
            window,
            at,
            begun: false,
        }
    }

    fn next(&mut self, mut bytes: &[u8]) -> Result<Vec<u8>> {
        if !self.begun {
            let (begin, rest) = bytes
                .split_first_chunk::<6>()
                .ok_or_else(|| wrong("headers without a beginning"))?;
            // How hard it was compressed is in the second byte, too.
            let [method, flags, ..] = *begin;
            if method & 0xf != 8 || flags & 0x20 == 0 || begin[2..] != BEGIN[2..] {
                return Err(wrong("headers that are not compressed with the dictionary"));
            }
            (self.begun, bytes) = (true, rest);
        }
        let mut plain = Vec::new();
        loop {
            let (status, read, written) = decompress(
                &mut self.state,
                bytes,
                &mut self.window,
                self.at,
                TINFL_FLAG_HAS_MORE_INPUT,
            );
            plain.extend_from_slice(&self.window[self.at..self.at + written]);
            self.at = (self.at + written) % WINDOW;
            bytes = &bytes[read..];
            if plain.len() > HEADERS {
                return Err(wrong("headers without an end"));
            }
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput if bytes.is_empty() => return Ok(plain),
                _ => return Err(wrong("headers that cannot be decompressed")),
            }
        }
    }
}

fn read_headers(mut bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut next = |length: usize| {
        let (now, rest) = bytes.split_at_checked(length)?;
        bytes = rest;
        Some(now)
    };
    let count = number(next(4)?)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let mut text = || {
            let length = number(next(4)?)?;
            let bytes = next(usize::try_from(length).ok()?)?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        headers.push((text()?, text()?));
    }
    Some(headers)
}

/// What the client is told.
#[derive(Debug)]
enum Told {
    /// A stream is taken.
    Taken(u32),
    /// A stream is refused.
    Refused(u32),
    /// Bytes of a stream, and whether they are the last ones.
    Data(u32, Vec<u8>, bool),
    /// A ping comes back.
    Pong(u32),
}

/// Writes frames. What it has to say in headers is not worth compressing, and stands in the stream as it is.
#[derive(Default)]
struct Writer {
    begun: bool,
}

impl Writer {
    fn frame(&mut self, told: Told) -> Vec<u8> {
        match told {
            Told::Taken(stream) => {
                let mut payload = stream.to_be_bytes().to_vec();
                // No headers.
                payload.extend(self.stored(&0u32.to_be_bytes()));
                control(2, &payload)
            }
            Told::Refused(stream) => {
                let refused = 3u32.to_be_bytes();
                control(3, &[stream.to_be_bytes(), refused].concat())
            }
            Told::Pong(id) => control(6, &id.to_be_bytes()),
            Told::Data(stream, bytes, last) => {
                let head = [stream, u32::from(last) << 24 | bytes.len() as u32];
                let mut frame = head.map(u32::to_be_bytes).concat();
                frame.extend(bytes);
                frame
            }
        }
    }

    fn stored(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut packed = match std::mem::replace(&mut self.begun, true) {
            true => Vec::new(),
            false => BEGIN.to_vec(),
        };
        for part in bytes.chunks(usize::from(u16::MAX)) {
            let length = part.len() as u16;
            packed.push(0);
            packed.extend(length.to_le_bytes());
            packed.extend((!length).to_le_bytes());
            packed.extend(part);
        }
        // An empty part, at which a reader gives out what it has instead of asking for more.
        packed.extend([0, 0, 0, 0xff, 0xff]);
        packed
    }
}

fn control(kind: u32, payload: &[u8]) -> Vec<u8> {
    let head = [0x8003_0000 | kind, payload.len() as u32];
    let mut frame = head.map(u32::to_be_bytes).concat();
    frame.extend(payload);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first two frames that a client of Kubernetes' own library sends.
    pub(super) fn opened(stream: u32, headers: &[(&str, &str)], writer: &mut Writer) -> Vec<u8> {
        let mut plain = (headers.len() as u32).to_be_bytes().to_vec();
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            plain.extend((text.len() as u32).to_be_bytes());
            plain.extend(text.as_bytes());
        }
        let mut payload = [stream, 0].map(u32::to_be_bytes).concat();
        payload.extend([0, 0]);
        payload.extend(writer.stored(&plain));
        control(1, &payload)
    }

    #[tokio::test]
    async fn headers_of_several_streams_are_read() {
        let mut writer = Writer::default();
        let long = "x".repeat(5000);
        let mut bytes = opened(1, &[("streamtype", "error"), ("port", "80")], &mut writer);
        bytes.extend(opened(3, &[("long", &long)], &mut writer));
        bytes.extend(control(6, &7u32.to_be_bytes()));
        let mut reader = Reader::new(&bytes[..]);
        let headers = vec![
            ("streamtype".to_owned(), "error".to_owned()),
            ("port".to_owned(), "80".to_owned()),
        ];
        let first = reader.next().await.expect("a stream");
        assert_eq!(first, Frame::Open { stream: 1, headers });
        let headers = vec![("long".to_owned(), long)];
        let second = reader.next().await.expect("a stream");
        assert_eq!(second, Frame::Open { stream: 3, headers });
        assert_eq!(reader.next().await.expect("a ping"), Frame::Ping(7));
        assert!(reader.next().await.is_err());
    }

    #[test]
    fn compressed_headers_refer_to_the_dictionary_and_to_those_before() {
        // zlib's own, of two streams.
        let frames = [
            "78f9e3c6a7c202253a703a2b294a4dcc851625aca9a0808614cb45e01c606969004a9f9c459068cc04256f460300000000ffff",
            "c2aa19540e2512d60b000000ffff",
        ];
        let mut inflate = Inflate::new();
        for (frame, kind) in frames.iter().zip(["error", "data"]) {
            let digits = |at| u8::from_str_radix(&frame[at..at + 2], 16).expect("a digit");
            let bytes: Vec<u8> = (0..frame.len()).step_by(2).map(digits).collect();
            let plain = inflate.next(&bytes).expect("headers");
            let headers = read_headers(&plain).expect("pairs");
            let said = [("streamtype", kind), ("port", "9901"), ("requestid", "0")];
            let said = said.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(headers, said);
        }
    }

    #[tokio::test]
    async fn what_is_no_spdy_is_refused() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            &control(1, b"ab"),
            &control(1, &[0; 20]),
            &control(3, b""),
            &[0x80, 2, 0, 1, 0, 0, 0, 0],
        ] {
            let mut reader = Reader::new(bytes);
            assert!(reader.next().await.is_err(), "{bytes:?}");
        }
    }
}
