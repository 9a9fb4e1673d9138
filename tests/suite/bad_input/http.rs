//! What is wrong before anybody asks what it means.

/// Requests that are wrong as HTTP. All are refused with a client's error or a closed connection.
pub fn wrong() -> Vec<(&'static str, Vec<u8>)> {
    let with = |line: &str| {
        format!("GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{line}\r\n\r\n")
            .into_bytes()
    };
    let post = |headers: &str, body: &str| {
        format!(
            "POST / HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n{headers}\r\n\r\n{body}"
        )
        .into_bytes()
    };
    let start =
        |line: &str| format!("{line}\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n").into_bytes();
    let many: String = (0..5000).map(|n| format!("x-{n}: y\r\n")).collect();
    vec![
        (
            "noise",
            (0..2048u32).map(|n| (n * 167 % 251) as u8).collect(),
        ),
        ("NUL bytes", vec![0; 512]),
        (
            "a TLS greeting",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        ),
        (
            "an HTTP/2 preface",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00".to_vec(),
        ),
        ("an unknown version", start("GET / HTTP/7.9")),
        ("no version", start("GET /")),
        ("no path", start("GET  HTTP/1.1")),
        ("a method with a NUL", start("G\0T / HTTP/1.1")),
        ("a path with a NUL", start("GET /\0 HTTP/1.1")),
        ("a path with a space", start("GET /a b HTTP/1.1")),
        ("a header without a colon", with("nonsense")),
        ("a header with a control character", with("x: a\u{7f}b")),
        ("a header with a NUL", with("x: a\0b")),
        ("a header name with a space", with("x y: z")),
        ("a folded header", with("x: a\r\n b")),
        (
            "a gigantic header",
            with(&format!("x: {}", "y".repeat(1 << 20))),
        ),
        ("thousands of headers", with(many.trim_end())),
        (
            "a gigantic path",
            start(&format!("GET /{} HTTP/1.1", "y".repeat(1 << 20))),
        ),
        ("a negative length", post("content-length: -1", "")),
        (
            "a length that is no number",
            post("content-length: ten", ""),
        ),
        (
            "a length beyond all numbers",
            post("content-length: 99999999999999999999999", ""),
        ),
        (
            "two lengths",
            post("content-length: 1\r\ncontent-length: 2", "ab"),
        ),
        (
            "an unknown transfer coding",
            post("transfer-encoding: zip", ""),
        ),
        (
            "a wrong chunk size",
            post("transfer-encoding: chunked", "zz\r\nab\r\n0\r\n\r\n"),
        ),
        (
            "a chunk without an end",
            post("transfer-encoding: chunked", "2\r\nabcdef0\r\n\r\n"),
        ),
        (
            "a chunk size beyond all numbers",
            post("transfer-encoding: chunked", "fffffffffffffffff\r\n"),
        ),
        (
            "an endless chunk extension",
            post(
                "transfer-encoding: chunked",
                &format!("2;{}\r\n", "x".repeat(1 << 20)),
            ),
        ),
    ]
}

/// Requests for somebody else.
pub fn hosts() -> Vec<(&'static str, Vec<u8>)> {
    let with =
        |host: &str| format!("GET / HTTP/1.1\r\n{host}connection: close\r\n\r\n").into_bytes();
    vec![
        ("another host", with("host: evil.example\r\n")),
        (
            "a host like ours",
            with("host: 127.0.0.1.evil.example:80\r\n"),
        ),
        ("another address", with("host: 10.0.0.1\r\n")),
        ("no host", with("")),
        ("an empty host", with("host: \r\n")),
        (
            "two hosts",
            with("host: 127.0.0.1\r\nhost: evil.example\r\n"),
        ),
        (
            "another host in the request line",
            b"GET http://evil.example/ HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
                .to_vec(),
        ),
    ]
}
