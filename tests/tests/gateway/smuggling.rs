//! Requests within requests.

use e2e::raw::Raw;

use super::{bearer, before_raw};

/// What a strict server makes of the bytes that reached it: one request and nothing after it, framed in one way.
fn is_one_request(got: &str) -> Result<(), String> {
    let (head, mut body) = got.split_once("\r\n\r\n").ok_or("no end of the head")?;
    if head.split("\r\n").any(|line| line.contains(['\r', '\n', '\0'])) {
        return Err("a bare CR, LF or NUL in the head".to_owned());
    }
    let mut lines = head.split("\r\n");
    lines.next();
    let fields: Vec<(String, &str)> = lines
        .map(|line| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim())))
        .collect::<Option<_>>()
        .ok_or("a line that is no header")?;
    if fields.iter().any(|(name, _)| name.is_empty() || name.contains([' ', '\t'])) {
        return Err("a name with spaces".to_owned());
    }
    let of = |wanted: &str| fields.iter().filter(|(name, _)| name == wanted).map(|(_, v)| *v).collect::<Vec<_>>();
    match (of("content-length").as_slice(), of("transfer-encoding").as_slice()) {
        ([], []) => {}
        ([length], []) => body = body.get(length.parse::<usize>().map_err(|e| e.to_string())?..).unwrap_or(""),
        ([], ["chunked"]) => loop {
            let Some((size, rest)) = body.split_once("\r\n") else { break body = "" };
            let size = usize::from_str_radix(size, 16).map_err(|_| format!("chunk size {size:?}"))?;
            match rest.get(size..) {
                Some(rest) if size == 0 => break body = rest.strip_prefix("\r\n").unwrap_or(rest),
                Some(rest) => body = rest.strip_prefix("\r\n").ok_or("a chunk without its end")?,
                None => break body = "",
            }
        },
        (lengths, codings) => return Err(format!("framed as {lengths:?} and {codings:?}")),
    }
    if body.is_empty() { Ok(()) } else { Err(format!("{body:?} after the request")) }
}

#[test]
fn two_requests_are_told_from_one() {
    for one in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        assert_eq!(is_one_request(one), Ok(()));
        assert!(is_one_request(&format!("{one}GET /smuggled HTTP/1.1\r\n\r\n")).is_err());
    }
    assert!(
        is_one_request("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").is_err()
    );
    assert!(is_one_request("GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n").is_err());
}

#[tokio::test]
async fn no_request_hides_in_another() {
    let (server, host, device) = before_raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    let length = smuggled.len();
    let shapes = [
        format!("Content-Length: {}\r\n{chunked}\r\n0\r\n\r\n{smuggled}", length + 5),
        format!("{chunked}Content-Length: {}\r\n\r\n0\r\n\r\n{smuggled}", length + 5),
        format!("{chunked}Content-Length: 0\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{smuggled}"),
        format!("Content-Length: {length}\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: 0, {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: +{length}\r\n\r\n{smuggled}"),
        format!("Content-Length: -1\r\n\r\n{smuggled}"),
        format!("Content-Length: 0x{length:x}\r\n\r\n{smuggled}"),
        format!("Content-Length : {length}\r\n\r\n{smuggled}"),
        format!("Content_Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length: {length}\n\n{smuggled}"),
        format!("X: a\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("X: a\rContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("X: a\r\n Content-Length: {length}\r\n\r\n{smuggled}"),
        format!("X:\r\n\tContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Content-Length:\r\n {length}\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding : chunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: xchunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: \x0bchunked\r\nContent-Length: {length}\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: identity\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}{chunked}\r\n0\r\n\r\n{smuggled}"),
        format!("Transfer_Encoding: chunked\r\n\r\n0\r\n\r\n{smuggled}"),
        format!("Connection: Content-Length\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Connection: Transfer-Encoding\r\n{chunked}\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n0\n\n{smuggled}"),
        format!("{chunked}\r\n0;\nx\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n1;a=\"\r\n\"\r\nx\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n-1\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n10000000000000000\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n2\r\nabX\r\n0\r\n\r\n{smuggled}"),
        format!("{chunked}\r\n0\r\nX: y\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("Upgrade: h2c\r\nConnection: Upgrade\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
        format!("X: a\0b\r\nContent-Length: {length}\r\n\r\n{smuggled}"),
    ];
    for line in ["POST / HTTP/1.1", "GET / HTTP/1.1", "POST / HTTP/1.0"] {
        for shape in &shapes {
            let mut connection = Raw::connect(host.gateway_url("app")).await;
            connection.send(format!("{line}\r\nHost: h\r\n{}{shape}", bearer(&device))).await;
            // Nothing more comes, so whatever the gateway makes of it is over once it has answered or hung up.
            connection.finish().await;
            let _ = connection.end().await;
        }
    }
    let got = server.got();
    assert!(got.len() >= 6, "some of them are requests: {}", got.len());
    // A connection to the app may be made for a request that then turns out to be none.
    for got in got.into_iter().filter(|got| !got.is_empty()) {
        let got = String::from_utf8_lossy(&got).into_owned();
        assert!(!got.starts_with("GET /smuggled"), "{got}");
        assert_eq!(is_one_request(&got), Ok(()), "{got:?}");
    }
}
